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

PLUGINS      := $(notdir $(patsubst %/,%,$(dir $(wildcard plugins/*/*.c))))
PLUGINS      := $(sort $(PLUGINS))
PLUGIN_FILES := $(PLUGINS:%=$(BUILD)/plugins/%.so)
FUNCTIONS    := $(patsubst config/functions/%.c,$(BUILD)/functions/%.so,$(wildcard config/functions/*.c))
-include $(wildcard plugins/*/plugin.mk)

# ---- tests -----------------------------------------------------------------------------------------

UNIT_TESTS   := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*.c))
PLUGIN_TESTS := $(patsubst tests/plugins/%.c,$(BUILD)/tests/plugins/%,$(wildcard tests/plugins/*.c))

.PHONY: all help clean tests-built bench-built docs-check
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

# A plugin whose folder is gone must not be loaded from here.
STALE := $(filter-out $(PLUGIN_FILES),$(wildcard $(BUILD)/plugins/*.so))
$(if $(STALE),$(shell rm -f $(STALE)))

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
plugin_objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard plugins/$(call plugin_of,$(1))/*.c))
$(PLUGIN_TESTS): $(BUILD)/tests/plugins/%: tests/plugins/%.c $$(call plugin_objects,%)
	@mkdir -p $(@D)
	$(call say,TEST $@)
	$(Q)$(CC) $(CFLAGS) -Itests $(LDFLAGS) -o $@ $< $(filter %.o,$^) $(LIBS_$(call plugin_of,$*)) $(CHECKLIBS) -lm

# Check's own limit of four seconds takes a busy machine for a test that hangs.
export CK_DEFAULT_TIMEOUT ?= 120
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
	clang-tidy-14 --quiet $(wildcard $(DIR)/*.c) -- $(TIDY_FLAGS)

# What tests/faults starts: a library that makes disks fail, and a small user of the journal.
FAULT_TOOLS := $(BUILD)/faults/shim.so $(BUILD)/faults/driver
$(BUILD)/faults/shim.so: tests/faults/shim.c
	@mkdir -p $(@D)
	$(call say,LINK $@)
	$(Q)$(CC) $(filter-out -fsanitize=% -fno-sanitize-recover=%,$(CFLAGS)) -fPIC -shared \
	    $(filter-out -fsanitize=%,$(LDFLAGS)) -o $@ $< -ldl
$(BUILD)/faults/driver: tests/faults/driver.c $(call archives,journal)
	@mkdir -p $(@D)
	$(call say,LINK $@)
	$(Q)$(CC) $(CFLAGS) -Icore $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
	    $(CORELIBS)

# ---- running ---------------------------------------------------------------------------------------

.PHONY: run demo deps test bench asan tsan check format install docs fuzz
run: deps ## Build and serve the reference flow until Ctrl-C
	@$(MAKE) --no-print-directory all
	WEIR_FUNCTIONS=$(CURDIR)/$(BUILD)/functions $(BUILD)/weir run config/pipeline.yaml

demo: deps ## Run the reference flow end to end, show what happened, stop
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) config/demo.sh

deps: ## Install the Debian packages that building and testing need, if they are missing
	@tests/deps.sh build

# ---- tests -----------------------------------------------------------------------------------------

tests-built: all $(UNIT_TESTS) $(PLUGIN_TESTS) $(FAULT_TOOLS)
test: deps ## All tests: unit, plugins, whole pipelines (under five minutes)
	@$(MAKE) --no-print-directory tests-built
	@BUILD=$(BUILD) tests/run.sh

asan: deps ## All tests with the address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory BUILD=build/asan SAN=address,undefined tests-built
	@BUILD=build/asan SAN=address,undefined tests/run.sh

tsan: deps ## What crosses threads, with the thread sanitizer
	@$(MAKE) --no-print-directory BUILD=build/tsan SAN=thread tests-built
	@BUILD=build/tsan SAN=thread tests/run.sh

BENCH_TOOLS := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))
$(BUILD)/bench/%: tests/bench/%.c $(call archives,cli)
	@mkdir -p $(@D)
	$(call say,BENCH $@)
	$(Q)$(CC) $(CFLAGS) -Icore $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) \
	    -Wl,--end-group $(CORELIBS)
BENCH_PLUGINS := $(patsubst tests/bench/plugins/%.c,$(BUILD)/bench/plugins/%.so,$(wildcard tests/bench/plugins/*.c))
$(BUILD)/bench/plugins/%.so: tests/bench/plugins/%.c
	@mkdir -p $(@D)
	$(call say,LINK $@)
	$(Q)$(CC) $(CFLAGS) -fPIC -shared $(LDFLAGS) -o $@ $<
bench-built: all $(BENCH_TOOLS) $(BENCH_PLUGINS)
bench: deps ## Measure every figure that is claimed, in one run
	@$(MAKE) --no-print-directory bench-built
	@BUILD=$(BUILD) python3 tests/bench/run.py

# Every tests/fuzz/NAME.c is a target; its seeds are in tests/fuzz/corpus/NAME.
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
$(BUILD)/bin/%: tests/fuzz/%.c $(call archives,cli)
	@mkdir -p $(@D)
	$(call say,FUZZ $@)
	$(Q)$(CC) $(CFLAGS) -Icore -Itests $(LDFLAGS) -fsanitize=fuzzer -o $@ $< -Wl,--start-group \
	    $(filter %.a,$^) -Wl,--end-group $(CORELIBS)
.PHONY: fuzzers-built
fuzzers-built: $(FUZZERS:%=$(BUILD)/bin/%)
FUZZ_SECONDS ?= 60
fuzz: ## Fuzz every parser, FUZZ_SECONDS=60 each
	@tests/deps.sh check
	@$(MAKE) --no-print-directory BUILD=build/fuzz CC=clang-14 \
	    SAN=fuzzer-no-link,address,undefined fuzzers-built
	@BUILD=build/fuzz tests/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZERS)

WEIR_FUZZ_PAIRS ?= 1000000
.PHONY: fuzz-match
fuzz-match: deps ## The matcher and a naive one on random pairs: WEIR_FUZZ_PAIRS=1000000 WEIR_FUZZ_SEED=1
	@$(MAKE) --no-print-directory $(BUILD)/tests/match_naive
	@WEIR_FUZZ_PAIRS=$(WEIR_FUZZ_PAIRS) $(BUILD)/tests/match_naive

.PHONY: faults
faults: deps ## Crashes, full and failing disks, dead sinks, overload: all of it (many minutes)
	@$(MAKE) --no-print-directory tests-built
	@BUILD=$(BUILD) tests/faults/run.sh

# ---- checks ----------------------------------------------------------------------------------------

C_FILES := $(wildcard core/*.c core/*/*.c core/*/*.h plugins/*/*.c plugins/*/*.h tests/*/*.c \
             config/functions/*.c examples/*/*.c examples/*/*/*.c)
TIDY_FILES := $(wildcard core/*.c core/*/*.c plugins/*/*.c)
TIDY_STAMPS := $(TIDY_FILES:%.c=build/tidy/%.ok)
TIDY_FLAGS := -std=c11 -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -Icore -Iinclude -Itests
# Findings go to the standard output; the counts of what was suppressed, on the other, say nothing.
build/tidy/%.ok: %.c .clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY $<"
	@clang-14 $(TIDY_FLAGS) -MM -MP -MT $@ -MF build/tidy/$*.d $<
	@clang-tidy-14 --quiet $< -- $(TIDY_FLAGS) 2>/dev/null && touch $@
.PHONY: tidied
tidied: $(TIDY_STAMPS)

check: ## Format, layers, clang-tidy, both compilers without a warning, generated pages
	@tests/deps.sh check
	@clang-format-14 --dry-run -Werror $(C_FILES)
	@awk -f tests/layers.awk core/LAYERS $(wildcard core/*/*.c core/*/*.h)
	@$(MAKE) --no-print-directory BUILD=build/gcc WERROR=-Werror tests-built bench-built
	@$(MAKE) --no-print-directory BUILD=build/clang CC=clang-14 WERROR=-Werror tests-built bench-built
	@$(MAKE) --no-print-directory -k tidied
	@$(MAKE) --no-print-directory BUILD=$(BUILD) docs-check
	@python3 docs/check.py
	@echo "check: clean"

format: ## Format the C files
	clang-format-14 -i $(C_FILES)

REFERENCE := docs/reference/pipeline.md docs/reference/plugins.md docs/reference/weir.schema.json
docs: all ## Generate the reference pages from the option tables
	@BUILD=$(BUILD) docs/generate.sh docs/reference
docs-check: all
	@rm -rf build/docs && mkdir -p build/docs && BUILD=$(BUILD) docs/generate.sh build/docs
	@for f in $(REFERENCE); do cmp $$f build/docs/$$(basename $$f) || { echo "run make docs"; exit 1; }; done

# ---- installing ------------------------------------------------------------------------------------

install: all ## Install runner, plugins, headers, weir.pc, weir.mk and the manual page: PREFIX= DESTDIR=
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/weir/plugins \
	    $(DESTDIR)$(PREFIX)/include/weir $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	    $(DESTDIR)$(PREFIX)/share/weir $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(if $(SAN),,-s) $(BUILD)/weir $(DESTDIR)$(PREFIX)/bin/weir
	install -m 755 $(if $(SAN),,-s) $(PLUGIN_FILES) $(DESTDIR)$(PREFIX)/lib/weir/plugins/
	cp -r $(BUILD)/plugins/lambda $(DESTDIR)$(PREFIX)/lib/weir/plugins/
	install -m 644 include/weir/*.h $(DESTDIR)$(PREFIX)/include/weir/
	sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@VERSION@|$(VERSION)|g' config/weir.pc.in \
	    > $(DESTDIR)$(PREFIX)/lib/pkgconfig/weir.pc
	sed -e 's|@PREFIX@|$(PREFIX)|g' config/weir.mk.in > $(DESTDIR)$(PREFIX)/share/weir/weir.mk
	install -m 644 docs/weir.1 $(DESTDIR)$(PREFIX)/share/man/man1/weir.1

clean: ## Remove what was built
	rm -rf build

-include $(shell find $(addprefix $(BUILD)/,obj tests bench functions bin faults) build/tidy -name '*.d' 2>/dev/null)
