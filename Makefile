# Weir: one Makefile for everything. `make help` lists what it does.

SHELL   := /bin/bash
VERSION := 0.1.0
BUILD   ?= build
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
TOP     := $(CURDIR)

V ?=
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1)")

# ---- flags ------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wno-unused-parameter -Wpedantic -Wshadow -Wconversion -Wsign-conversion \
        -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla -Wpointer-arith \
        -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wswitch-enum -Wimplicit-fallthrough \
        -Wnull-dereference
ifeq ($(findstring clang,$(CC)),)
WARN += -Wduplicated-cond -Wlogical-op
endif
OPT      := $(if $(SAN),-O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all,-O2 -D_FORTIFY_SOURCE=2)
WERROR   ?=
CFLAGS   := -std=c11 -D_GNU_SOURCE $(WARN) $(WERROR) $(OPT) -g -fvisibility=hidden -fno-common \
            -fstack-protector-strong -pthread -Iinclude -MMD -MP $(EXTRA_CFLAGS)
LDFLAGS  := -pthread -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN)) $(EXTRA_LDFLAGS)
CORELIBS := -lyaml -lm -ldl
CHECKLIBS := $(shell pkg-config --libs check 2>/dev/null || echo -lcheck)

# ---- the core: one archive a room --------------------------------------------------------------

ROOMS := $(shell cat core/LAYERS)
# What a room stands on, for tests that link no more than they need.
NEEDS_base     := base
NEEDS_json     := json base
NEEDS_net      := net base
NEEDS_journal  := journal base
NEEDS_match    := match json base
NEEDS_config   := config json base
NEEDS_plugin   := plugin base
NEEDS_pipeline := pipeline plugin config match journal net json base
NEEDS_admin    := admin $(NEEDS_pipeline)
NEEDS_cli      := cli $(NEEDS_admin)

room_objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard core/$(1)/*.c))
archives     = $(foreach r,$(NEEDS_$(1)),$(BUILD)/lib/$(r).a)

# ---- plugins: one folder, one shared object ------------------------------------------------------

PLUGINS      := $(filter-out aws,$(notdir $(patsubst %/,%,$(dir $(wildcard plugins/*/*.c)))))
PLUGINS      := $(sort $(PLUGINS))
PLUGIN_FILES := $(PLUGINS:%=$(BUILD)/plugins/%.so)
FUNCTIONS    := $(patsubst config/functions/%.c,$(BUILD)/functions/%.so,$(wildcard config/functions/*.c))
-include $(wildcard plugins/*/plugin.mk)

# ---- tests -----------------------------------------------------------------------------------------

UNIT_TESTS   := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*.c))
PLUGIN_TESTS := $(patsubst tests/plugins/%.c,$(BUILD)/tests/plugins/%,$(wildcard tests/plugins/*.c))

.PHONY: all help clean
all: $(BUILD)/weir $(PLUGIN_FILES) $(FUNCTIONS) ## Build the runner, the plugins and the functions

help: ## This list
	@awk -F ':.*## ' '/^[a-z][a-zA-Z_-]*:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BUILD)/obj/core/%.o: core/%.c
	@mkdir -p $(@D)
	$(call say,CC   $<)
	$(Q)$(CC) $(CFLAGS) -fPIE -DWEIR_VERSION='"$(VERSION)"' -Icore -c $< -o $@

define room_rule
$(BUILD)/lib/$(1).a: $(call room_objects,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room_rule,$(r))))

$(BUILD)/weir: $(BUILD)/obj/core/main.o $(call archives,cli)
	$(call say,LINK $@)
	$(Q)$(CC) -pie $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(CORELIBS)

$(BUILD)/obj/plugins/%.o: plugins/%.c
	@mkdir -p $(@D)
	$(call say,CC   $<)
	$(Q)$(CC) $(CFLAGS) -fPIC $(CFLAGS_$(firstword $(subst /, ,$*))) -c $< -o $@

define plugin_rule
$(BUILD)/plugins/$(1).so: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard plugins/$(1)/*.c))
	@mkdir -p $$(@D)
	$$(call say,LINK $$@)
	$(Q)$(CC) -shared $(LDFLAGS) $(if $(SAN),,-Wl,-z,defs) -o $$@ $$^ $(LIBS_$(1))
endef
$(foreach p,$(PLUGINS),$(eval $(call plugin_rule,$(p))))

$(BUILD)/functions/%.so: config/functions/%.c
	@mkdir -p $(@D)
	$(call say,FUNC $@)
	$(Q)$(CC) $(CFLAGS) -fPIC -shared $(LDFLAGS) -o $@ $<

# tests/unit/<room>_<topic>.c links the archives of its room and of what that stands on.
unit_room = $(firstword $(subst _, ,$(notdir $(1))))
.SECONDEXPANSION:
$(UNIT_TESTS): $(BUILD)/tests/%: tests/unit/%.c $$(call archives,$$(call unit_room,%))
	@mkdir -p $(@D)
	$(call say,TEST $@)
	$(Q)$(CC) $(CFLAGS) -Icore -Itests $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) \
	    -Wl,--end-group $(CORELIBS) $(CHECKLIBS)

# tests/plugins/<plugin>_<topic>.c links the plugin statically, for the sanitizers, by weir/testing.h.
plugin_of = $(firstword $(subst -, ,$(notdir $(1))))
$(PLUGIN_TESTS): $(BUILD)/tests/plugins/%: tests/plugins/%.c $$(patsubst %.c,$(BUILD)/obj/%.o,$$(wildcard plugins/$$(call plugin_of,%)/*.c))
	@mkdir -p $(@D)
	$(call say,TEST $@)
	$(Q)$(CC) $(CFLAGS) -Itests $(LDFLAGS) -o $@ $^ $(LIBS_$(call plugin_of,$*)) $(CHECKLIBS) -lm

# `make unit-journal` builds and runs the unit tests of one room, `make plugin-lambda` of one plugin.
unit-%:
	@$(MAKE) --no-print-directory $(filter $(BUILD)/tests/$*_%,$(UNIT_TESTS))
	@for t in $(filter $(BUILD)/tests/$*_%,$(UNIT_TESTS)); do echo "== $$t"; $$t || exit 1; done
plugin-%:
	@$(MAKE) --no-print-directory $(filter $(BUILD)/tests/plugins/$* $(BUILD)/tests/plugins/$*-%,$(PLUGIN_TESTS))
	@for t in $(filter $(BUILD)/tests/plugins/$* $(BUILD)/tests/plugins/$*-%,$(PLUGIN_TESTS)); do echo "== $$t"; $$t || exit 1; done
# `make tidy DIR=core/journal` checks format and clang-tidy of one folder.
.PHONY: tidy
tidy: ## Check format and clang-tidy of one folder: make tidy DIR=core/journal
	clang-format-14 --dry-run -Werror $(wildcard $(DIR)/*.c $(DIR)/*.h)
	clang-tidy-14 --quiet $(wildcard $(DIR)/*.c) -- -std=c11 -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -Icore -Iinclude -Itests

clean: ## Remove what was built
	rm -rf build

-include $(shell find $(BUILD)/obj $(BUILD)/tests -name '*.d' 2>/dev/null)
