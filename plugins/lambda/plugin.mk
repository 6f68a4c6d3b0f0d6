# The clients of the runtimes stand beside the plugin, which looks for them there.
.DEFAULT_GOAL := all
RUNTIME_FILES := $(patsubst plugins/lambda/runtimes/%,$(BUILD)/plugins/lambda/%,$(wildcard plugins/lambda/runtimes/*/*))
all: $(RUNTIME_FILES)
$(BUILD)/plugins/lambda.so: | $(RUNTIME_FILES)
$(RUNTIME_FILES): $(BUILD)/plugins/lambda/%: plugins/lambda/runtimes/%
	@mkdir -p $(@D)
	@cp $< $@

# The example's function in C, where the stage finds it without a folder named.
FUNCTIONS += $(BUILD)/functions/classify_user.so
$(BUILD)/functions/classify_user.so: examples/functions/c/classify_user.c
	@mkdir -p $(@D)
	$(call say,FUNC $@)
	$(Q)$(CC) $(CFLAGS) -fPIC -shared $(LDFLAGS) -o $@ $<
