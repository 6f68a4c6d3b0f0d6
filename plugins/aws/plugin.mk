LIBS_aws := -lcrypto -lm
# The fuzz target tests/fuzz/aws.c stands on the plugin's own objects.
AWS_OBJECTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard plugins/aws/*.c))
$(BUILD)/bin/aws: CORELIBS += $(AWS_OBJECTS) -lcrypto -lm
$(BUILD)/bin/aws: $(AWS_OBJECTS)
