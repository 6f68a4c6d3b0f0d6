# The fuzz target tests/fuzz/schedule.c stands on the plugin's own objects.
SCHEDULE_OBJECTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard plugins/schedule/*.c))
$(BUILD)/bin/schedule: CORELIBS += $(SCHEDULE_OBJECTS)
$(BUILD)/bin/schedule: $(SCHEDULE_OBJECTS)
