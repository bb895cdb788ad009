# wipyd: see `make help`.

BUILD   ?= build
VERSION := 0.1.0
PREFIX  ?= /usr
SYSCONFDIR ?= /etc
DESTDIR ?=

# ---- how make runs -----------------------------------------------------------------------------------------------
# All cores, unless make is told another -j or is one of several already. What is built says its say in one piece;
# tests tell as they go.
JOBS := $(shell nproc 2>/dev/null || echo 1)
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(JOBS)
endif
ifeq ($(filter test% check% bench demo vm% soak matrix noise fuzz coverage valgrind durability faults hostile,$(MAKECMDGOALS)),)
MAKEFLAGS += --output-sync=target
endif

# ---- packages: the one list --------------------------------------------------------------------------------------
DEPS_BUILD := gcc make pkg-config libc6-dev libuv1-dev libsystemd-dev libarchive-dev libyajl-dev libdeflate-dev \
              libssl-dev libsqlite3-dev libcurl4-openssl-dev libudev-dev libsmartcols-dev libinih-dev zlib1g-dev
DEPS_TEST  := libcmocka-dev dbus systemd python3 procps openssl strace umockdev libumockdev-dev less zsh fish
DEPS_CHECK := clang clang-format clang-tidy cppcheck libclang-rt-14-dev llvm udev mandoc
DEPS_DEB   := dpkg-dev lintian systemd udev dbus
DEPS_VM    := qemu-system-x86 qemu-utils mmdebstrap e2fsprogs cpio kmod libusbredirparser-dev zlib1g-dev python3

# ---- flags -------------------------------------------------------------------------------------------------------
# pkg-config runs when a rule needs it, after `deps` has had its chance.
PKGS_DAEMON := libuv libsystemd libcurl libarchive yajl libdeflate zlib libcrypto sqlite3 inih libudev
PKGS_CLIENT := libsystemd yajl smartcols
PKGS_SIM    := zlib libcrypto
PKGS_TEST   := cmocka zlib
PKGS_BED    := umockdev-1.0
PKGS_USB    := libusbredirparser-0.5

WARN := -Wall -Wextra -Wconversion -Wshadow -Wswitch-enum -Wmissing-prototypes -Wstrict-prototypes -Wvla \
        -Wformat=2 -Wundef -Wunused-result -Werror
CSTD := -std=gnu11 -D_GNU_SOURCE -I. -DWIPYD_VERSION='"$(VERSION)"'
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
OPT  := -O2 -g
SAN  ?=
ifeq ($(SAN),1)
HARDEN :=
OPT  := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
endif
# For clang: counts what of the source runs, so that the sanitizers' own branches are none. The counters lie in the file
# itself (%c, and the relocation that it needs), of all processes of a program (%m): who is killed has counted too.
COV  ?=
ifeq ($(COV),1)
PROFILES := $(abspath $(BUILD))/profiles
COUNT := -fprofile-instr-generate=$(PROFILES)/%m%c.profraw -fcoverage-mapping -fprofile-update=atomic \
         -mllvm -runtime-counter-relocation
endif
# For clang: the fuzzer counts edges in all objects, its main comes with the target.
FUZZ ?=
ifeq ($(FUZZ),1)
HARDEN :=
SANITIZE := address,undefined
OPT  := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,$(SANITIZE) -fno-sanitize-recover=undefined
endif
# V=1 shows whole commands.
ifneq ($(V),1)
Q := @
endif
ALL_CFLAGS = $(CSTD) $(OPT) $(COUNT) $(HARDEN) $(WARN) -MMD -MP $(CFLAGS)
LINK_FLAGS = $(OPT) $(filter-out -mllvm -runtime-counter-relocation,$(COUNT)) -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)

# ---- what is built from what -------------------------------------------------------------------------------------
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))
PROTO_SRC  := $(wildcard proto/*.c)
DAEMON_SRC := $(filter-out daemon/main.c,$(wildcard daemon/*/*.c))
CLIENT_SRC := $(wildcard client/*.c)
SIM_SRC    := $(filter-out tests/sim/%_shim.c,$(wildcard tests/sim/*.c))
USB_SRC    := $(wildcard tests/vm/usb/*.c)
UNIT_SRC   := $(wildcard tests/unit/test_*.c tests/unit/*_tool.c)
UNIT_BIN   := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)
FUZZ_BIN   := $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c))
LIB := $(BUILD)/libwipyd.a
CLIENT_LIB := $(BUILD)/libwipyctl.a
ALL_C := $(wildcard proto/*.[ch] daemon/*.[ch] daemon/*/*.[ch] client/*.[ch] tests/*/*.[ch] tests/vm/usb/*.[ch])

.DELETE_ON_ERROR:
.PHONY: all
all: $(BUILD)/wipyd $(BUILD)/wipyctl ## Build wipyd and wipyctl

$(LIB): $(call obj,$(DAEMON_SRC) $(PROTO_SRC))
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/wipyd: $(call obj,daemon/main.c) $(LIB)
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $^ $$(pkg-config --libs $(PKGS_DAEMON))

$(BUILD)/wipyctl: $(call obj,$(CLIENT_SRC) $(PROTO_SRC))
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $^ $$(pkg-config --libs $(PKGS_CLIENT))

$(BUILD)/wipysim: COUNT :=
$(BUILD)/wipysim: $(call obj,$(SIM_SRC))
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $^ $$(pkg-config --libs $(PKGS_SIM))

# The chips alone are pure, and have unit tests; the cable to QEMU needs DEPS_VM.
USB_CHIPS := $(call obj,tests/vm/usb/chip.c tests/vm/usb/cp2102.c tests/vm/usb/ft230x.c)

.PHONY: usbboard
usbboard: $(BUILD)/usbboard

$(BUILD)/usbboard: $(call obj,$(USB_SRC))
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $^ $$(pkg-config --libs $(PKGS_USB))

$(BUILD)/tests/vm/usb/redir.o: PKGS_CLIENT += $(PKGS_USB)

# Two helpers of the tests are built without the sanitizers: one is loaded into other programs, the other is started
# again under umockdev's library.
HELPER_CFLAGS := $(CSTD) -O2 -g -fPIC $(WARN) -MMD -MP

$(BUILD)/liblines.so: tests/sim/lines_shim.c Makefile
	@mkdir -p $(@D)
	@echo '  LINK  $@'
	$(Q)$(CC) $(HELPER_CFLAGS) -shared -o $@ $<

$(BUILD)/libfaults.so: tests/faults/faults_shim.c Makefile
	@mkdir -p $(@D)
	@echo '  LINK  $@'
	$(Q)$(CC) $(HELPER_CFLAGS) -shared -o $@ $<

$(BUILD)/usbtool: tests/integration/usb_tool.c Makefile
	@mkdir -p $(@D)
	@echo '  LINK  $@'
	$(Q)$(CC) $(HELPER_CFLAGS) $$(pkg-config --cflags $(PKGS_BED)) -o $@ $< $$(pkg-config --libs $(PKGS_BED))

# Else make removes them, and the next one compiles them again.
.SECONDARY: $(call obj,$(UNIT_SRC))
$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $^ $$(pkg-config --libs $(PKGS_DAEMON) $(PKGS_TEST))

$(CLIENT_LIB): $(call obj,$(filter-out client/main.c,$(CLIENT_SRC)) $(PROTO_SRC))
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/unit/test_client_%: $(BUILD)/tests/unit/test_client_%.o $(CLIENT_LIB)
	@mkdir -p $(@D)
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINK_FLAGS) -o $@ $^ $$(pkg-config --libs $(PKGS_CLIENT) $(PKGS_TEST))

BED_SRC := $(wildcard tests/unit/test_usb_watch*.c)
$(BED_SRC:tests/unit/%.c=$(BUILD)/unit/%): PKGS_TEST += $(PKGS_BED)
$(call obj,$(BED_SRC)): PKGS_CLIENT += $(PKGS_BED)

$(BUILD)/unit/test_usbboard_cp2102 $(BUILD)/unit/test_usbboard_ft230x: $(USB_CHIPS)

$(BUILD)/fuzz_client: $(CLIENT_LIB)
$(BUILD)/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(LIB)
	@echo '  LINK  $@'
	$(Q)$(CC) $(LINK_FLAGS) -fsanitize=fuzzer,$(SANITIZE) -o $@ $^ $$(pkg-config --libs $(PKGS_DAEMON))

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC) $(ALL_CFLAGS) $$(pkg-config --cflags $(PKGS_DAEMON) $(PKGS_CLIENT) libdeflate) -c -o $@ $<

# Where the daemon looks for what install puts there: built again when that changes.
.PHONY: FORCE
$(BUILD)/prefix: FORCE
	@mkdir -p $(@D)
	@[ "$$(cat $@ 2>/dev/null)" = '$(PREFIX)' ] || echo '$(PREFIX)' > $@

$(BUILD)/daemon/firmware/stub_file.o: CSTD += -DWIPYD_DATA='"$(PREFIX)/share/wipyd"'
$(BUILD)/daemon/firmware/stub_file.o: $(BUILD)/prefix

-include $(shell find $(BUILD) -type f -name '*.d' 2>/dev/null)

# ---- for people --------------------------------------------------------------------------------------------------
.PHONY: deps deps-check demo test test-run vm vm-all check bench check-hardware format install uninstall deb clean help sim stub soak matrix noise

deps: ## Install the Debian packages that building and testing need (root or sudo); nothing to do when they are there
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_TEST)

deps-check: ## The same for make check and each of its parts
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_TEST) $(DEPS_CHECK) $(DEPS_DEB)

# The targets that bring their own packages build in a second make, after the packages are there.
demo: deps ## Plug in a simulated board and flash it, with a private bus
	@$(MAKE) --no-print-directory all sim
	@WIPYD_BUILD=$(BUILD) python3 tests/demo.py

test: deps ## Build everything and pass all tests
	@$(MAKE) --no-print-directory all sim $(UNIT_BIN)
	@$(MAKE) --no-print-directory test-run

test-run: all sim $(UNIT_BIN)
	@WIPYD_BUILD=$(BUILD) WIPYD_SAN=$(SAN) python3 tests/run.py $(TESTS)

# Not of `make test`: hours of them. The stub is soaked, too, where `make stub` has got it.
N    ?= 20000
SEED ?=
soak: deps ## N flashes of simulated boards with random faults from SEED; none may be reported done that isn't
	@$(MAKE) --no-print-directory all sim
	@WIPYD_BUILD=$(BUILD) python3 tests/soak.py -n $(N) $(if $(SEED),--seed $(SEED)) $(SOAK)

matrix: deps ## Every phase x every interruption x each loader x with and without reset lines
	@$(MAKE) --no-print-directory all sim
	@WIPYD_BUILD=$(BUILD) WIPYD_SAN=$(SAN) python3 tests/matrix.py

sim: $(BUILD)/wipysim $(BUILD)/liblines.so $(BUILD)/libfaults.so $(BUILD)/usbtool ## Build the simulated board and its USB port

stub: ## Get Espressif's flasher stub, which makes flashing twice as fast; install takes it along when it is there
	@tests/stub.sh $(BUILD)/stub

# VM='-k PATTERN' runs the scenarios that are named so; VM=--cold builds the guest anew.
VM ?=
vm: ## The package in a real Debian in QEMU, with real drivers, udev, systemd, D-Bus and polkit: the most telling scenarios
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_DEB) $(DEPS_VM)
	@$(MAKE) --no-print-directory deb usbboard $(BUILD)/wipysim
	@WIPYD_BUILD=$(BUILD) python3 -u tests/vm/run.py $(VM)

vm-all: ## All scenarios in QEMU
	@$(MAKE) --no-print-directory vm VM='--all $(VM)'

# One after the other, the quick ones first: several build the same. Tests wait more than they work: the linters, which
# nobody waits for, take the time that is left, and are told at the end.
CHECKS  := format fences threats compilers units man install deb interfaces san
LINTERS := static analyzer
check: deps-check ## Format, fences, unit and rules, man pages, package, compilers, linters, tests under ASan and UBSan
	@mkdir -p $(BUILD)
	@MAKEFLAGS='$(filter-out -j% --jobserver%,$(MAKEFLAGS))' nice -n 19 $(MAKE) --no-print-directory JOBS=1 \
	  $(LINTERS:%=check-%) > $(BUILD)/linters.log 2>&1 & \
	linters=$$!; trap 'kill $$linters 2>/dev/null' EXIT; \
	for check in $(CHECKS); do $(MAKE) --no-print-directory check-$$check || exit; done; \
	wait $$linters; code=$$?; trap - EXIT; \
	if [ $$code != 0 ]; then cat $(BUILD)/linters.log; else echo '$(LINTERS): clean'; fi; exit $$code

.PHONY: $(CHECKS:%=check-%) $(LINTERS:%=check-%)
check-format: ## One format for all C
	$(Q)clang-format --dry-run -Werror $(ALL_C)

check-fences: ## Which room may include what
	python3 tests/check/fences.py

check-threats: ## Each test that the threat model in the README names is there
	python3 tests/check/threats.py --self-test
	python3 tests/check/threats.py

# A unit is judged as it is installed, but for its program, which is the one that was built.
check-units: all sim ## systemd's opinion of the unit, the daemon with its few rights, and what udev makes of the rules
	@mkdir -p $(BUILD)/units
	$(Q)sed 's,^ExecStart=.*,ExecStart=$(abspath $(BUILD)/wipyd),' systemd/wipyd.service > $(BUILD)/units/wipyd.service
	$(Q)systemd-analyze verify --man=no --recursive-errors=no $(BUILD)/units/wipyd.service
	$(Q)systemd-analyze security --no-pager --offline=true --threshold=15 $(BUILD)/units/wipyd.service \
	  > $(BUILD)/units/security || { cat $(BUILD)/units/security; exit 1; }
	$(Q)tail -n 1 $(BUILD)/units/security
	$(Q)WIPYD_BUILD=$(BUILD) python3 tests/check/rights.py --self-test
	$(Q)WIPYD_BUILD=$(BUILD) python3 tests/check/rights.py
	$(Q)WIPYD_BUILD=$(BUILD) python3 tests/check/udev_rules.py --self-test
	$(Q)WIPYD_BUILD=$(BUILD) python3 tests/check/udev_rules.py

check-man: all ## Man pages: well-formed, and about all that there is
	$(Q)mandoc -Tlint -Wwarning $(MAN)
	$(Q)python3 tests/check/man.py --self-test
	$(Q)WIPYD_BUILD=$(BUILD) python3 tests/check/man.py

check-install: all ## What install puts somewhere, uninstall takes away
	$(Q)python3 tests/check/install.py $(BUILD)

check-deb: deb ## lintian, and the package's life: installed, upgraded, removed, purged
	$(Q)python3 tests/check/package.py $(BUILD)/wipyd_$(VERSION)_$$(dpkg --print-architecture).deb

# gcc's warnings come with its optimizing, so it builds what is then used; clang's come before.
check-compilers: ## All warnings are errors, with gcc and with clang
	@$(MAKE) --no-print-directory CC=gcc everything
	@$(MAKE) --no-print-directory CC=clang syntax

check-static: ## clang-tidy and cppcheck
	@mkdir -p $(BUILD)/cppcheck
	$(Q)printf '%s\n' $(DAEMON_SRC) daemon/main.c $(CLIENT_SRC) $(PROTO_SRC) | xargs -P $(JOBS) -I {} \
	  clang-tidy --quiet --warnings-as-errors='*' {} -- $(CSTD) $$(pkg-config --cflags $(PKGS_DAEMON) $(PKGS_CLIENT))
	$(Q)cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability \
	  -j $(JOBS) --cppcheck-build-dir=$(BUILD)/cppcheck \
	  --suppressions-list=tests/check/cppcheck.supp -I. -D_GNU_SOURCE daemon client proto

check-interfaces: all sim ## What the daemon says of itself equals the XML
	@WIPYD_BUILD=$(BUILD) python3 tests/run.py -k introspection

# Who is started first makes the file of a program's counters: not one that is to be killed.
IN_SAN := --no-print-directory CC=clang SAN=1 COV=1 BUILD=$(BUILD)/san
check-san: ## The whole suite under ASan and UBSan, and what it reaches: 90 % of lines and 80 % of branches, or it fails
	@$(MAKE) $(IN_SAN) everything
	@[ ! -d $(BUILD)/stub ] || ln -sfn ../stub $(BUILD)/san/stub
	@rm -rf $(BUILD)/san/profiles
	@for program in wipyd wipyctl; do $(BUILD)/san/$$program --version > $(BUILD)/san/version; done
	@$(MAKE) $(IN_SAN) test-run
	@python3 tests/check/coverage.py $(BUILD)/san

.PHONY: coverage
coverage: check-san ## The same: check-san counts lines and branches, and writes build/san/html

.PHONY: everything syntax
everything: all sim $(UNIT_BIN)

SYNTAX_SRC := $(wildcard proto/*.c daemon/*.c daemon/*/*.c client/*.c tests/*/*.c)
syntax: $(SYNTAX_SRC:%.c=$(BUILD)/syntax/%.ok)
$(BUILD)/syntax/%.ok: PKGS_CLIENT += $(PKGS_TEST) $(PKGS_SIM) $(PKGS_BED)
$(BUILD)/syntax/%.ok: %.c Makefile
	@mkdir -p $(@D)
	@echo '  CHECK $<'
	$(Q)$(CC) $(ALL_CFLAGS) -MF $(@:.ok=.d) -MT $@ $$(pkg-config --cflags $(PKGS_DAEMON) $(PKGS_CLIENT)) -fsyntax-only $<
	@touch $@

.PHONY: valgrind check-valgrind
# K: a pattern of tests.
valgrind: ## The integration tests with wipyd in valgrind; K=PATTERN: some of them
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_TEST) valgrind libc6-dbg
	@$(MAKE) --no-print-directory all sim
	@python3 tests/integration/run.py --build $(BUILD) --valgrind $(if $(K),-k '$(K)')

# One of each kind of thing that a daemon does.
VALGRIND_SOME := test_flash.test_object_script_to_4_mb|test_lease.test_leases_are_bounded|test_bus.test_stopped_while_writing
VALGRIND_SOME := $(VALGRIND_SOME)|test_own_data.test_export|test_standing.test_a_wrong|test_authority.test_polkit_yes
check-valgrind: ## Some of them, for CI
	@$(MAKE) --no-print-directory valgrind K='$(VALGRIND_SOME)'

# What gcc 12 can't follow: memory that lies in an array or behind cleanup(), and a variable of cleanup()'s where a
# caller's errno has two values at once. LeakSanitizer and valgrind see both as they are.
ANALYZER := -fanalyzer -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value
check-analyzer: ## gcc's own analysis of daemon/ and client/
	@$(MAKE) --no-print-directory CC=gcc OPT='-O1 -g' CFLAGS='$(CFLAGS) $(ANALYZER)' BUILD=$(BUILD)/analyzer analyzed

.PHONY: analyzed
analyzed: $(call obj,$(DAEMON_SRC) daemon/main.c $(CLIENT_SRC) $(PROTO_SRC))

# T: seconds for each; K: only targets whose name contains it.
.PHONY: fuzz fuzz-programs
T ?= 60
fuzz: ## Fuzz each target of tests/fuzz for T seconds, on all cores; K=NAME: only some
	@tests/deps.sh $(DEPS_BUILD) python3 clang libclang-rt-14-dev
	@$(MAKE) --no-print-directory CC=clang FUZZ=1 BUILD=$(BUILD)/fuzz fuzz-programs
	@python3 tests/fuzz/run.py --build $(BUILD)/fuzz --seconds $(T) $(if $(K),-k $(K))

fuzz-programs: $(FUZZ_BIN)

# MB: of garbage, from ten devices at once; 330 is an hour of one at 921600 baud.
MB ?= 330
hostile: deps ## Bad callers, databases, servers, and an hour's garbage from USB devices; MB=N: less or more of it
	@$(MAKE) --no-print-directory all sim
	@WIPYD_BUILD=$(BUILD) WIPYD_GARBAGE_MB=$(MB) python3 tests/integration/run.py -k 'test_hostile|bad_server'

# SEED: of what is lost where a disk may keep a part.
.PHONY: durability faults hostile
durability: deps ## Lose the power before each change of a file in a day's work, in five ways; SEED=N repeats one
	@$(MAKE) --no-print-directory all sim
	@WIPYD_BUILD=$(BUILD) WIPYD_DURABILITY=all WIPYD_DURABILITY_S=3600 WIPYD_SEED=$(SEED) \
	  python3 tests/integration/run.py -k test_power_loss

# SITES: so many cases of each part, chosen by SEED. FAULTS: options of run.py, such as FAULTS='-v daemon -k store'.
faults: deps ## Fail each call for memory and of the system once, at each place in wipyd, wipyctl and the unit programs
	@$(MAKE) --no-print-directory all sim $(UNIT_BIN)
	@WIPYD_BUILD=$(BUILD) WIPYD_SAN=$(SAN) python3 tests/faults/run.py $(if $(SITES),--sites $(SITES)) \
	  $(if $(SEED),--seed $(SEED)) $(FAULTS)

# BENCH: options of bench.py, such as BENCH=--quick, BENCH='--cases stub-* --json FILE'. ESPTOOL=PROGRAM: the peer.
bench: deps ## Measure speed and memory on paced boards, against the budgets
	@$(MAKE) --no-print-directory all sim
	@WIPYD_BUILD=$(BUILD) python3 tests/bench/bench.py $(BENCH)

noise: deps ## Flash hundreds of boards over bad cables: do all succeed, does each slot find its rate?
	@$(MAKE) --no-print-directory all sim $(BUILD)/unit/test_rate_noise
	@$(BUILD)/unit/test_rate_noise
	@WIPYD_BUILD=$(BUILD) python3 tests/noise.py $(if $(ROUNDS),--rounds $(ROUNDS))

check-hardware: all ## Flash PACKAGE=... to whatever answers on PORT=..., and check it
	@WIPYD_BUILD=$(BUILD) python3 tests/hardware.py --port '$(PORT)' --package '$(PACKAGE)'

format: ## Bring all C into the one format
	clang-format -i $(ALL_C)

# ---- installing --------------------------------------------------------------------------------------------------
UNITDIR   ?= $(PREFIX)/lib/systemd/system
UDEVDIR   ?= $(PREFIX)/lib/udev
ZSHDIR    ?= $(PREFIX)/share/zsh/site-functions
SHARE     := $(PREFIX)/share
MAN       := $(sort $(wildcard systemd/man/*.[1-8]))

STUB      := $(BUILD)/stub/esp32.json

# mode:file:where to: the one list for install and uninstall. The configuration isn't in it: it is put where there is
# none, and stays.
present = $(if $(wildcard $(1)),$(2):$(1):$(3))
INSTALLED = \
  755:$(BUILD)/wipyd:$(PREFIX)/libexec/wipyd \
  755:$(BUILD)/wipyctl:$(PREFIX)/bin/wipyctl \
  644:$(BUILD)/wipyd.service:$(UNITDIR)/wipyd.service \
  644:systemd/wipyd.sysusers:$(PREFIX)/lib/sysusers.d/wipyd.conf \
  644:systemd/org.wipyd1.conf:$(SHARE)/dbus-1/system.d/org.wipyd1.conf \
  644:systemd/org.wipyd1.service:$(SHARE)/dbus-1/system-services/org.wipyd1.service \
  $(call present,systemd/org.wipyd1.policy,644,$(SHARE)/polkit-1/actions/org.wipyd1.policy) \
  $(call present,systemd/wipyd.catalog,644,$(PREFIX)/lib/systemd/catalog/wipyd.catalog) \
  644:udev/90-wipyd.rules:$(UDEVDIR)/rules.d/90-wipyd.rules \
  $(foreach x,$(wildcard proto/org.wipyd1.*.xml),644:$(x):$(SHARE)/dbus-1/interfaces/$(notdir $(x))) \
  $(foreach m,$(MAN),644:$(m):$(SHARE)/man/man$(subst .,,$(suffix $(m)))/$(notdir $(m))) \
  $(call present,client/completions/wipyctl.bash,644,$(SHARE)/bash-completion/completions/wipyctl) \
  $(call present,client/completions/_wipyctl,644,$(ZSHDIR)/_wipyctl) \
  $(call present,client/completions/wipyctl.fish,644,$(SHARE)/fish/vendor_completions.d/wipyctl.fish) \
  $(if $(wildcard $(STUB)),644:$(STUB):$(SHARE)/wipyd/stub/esp32.json 644:systemd/stub.txt:$(SHARE)/wipyd/stub/README)

# Always: PREFIX may be another than the last time.
.PHONY: $(BUILD)/wipyd.service
$(BUILD)/wipyd.service: systemd/wipyd.service
	@mkdir -p $(@D)
	$(Q)sed 's,^ExecStart=.*,ExecStart=$(PREFIX)/libexec/wipyd,' $< > $@

install: all $(BUILD)/wipyd.service ## Install below DESTDIR, PREFIX and SYSCONFDIR
	$(Q)set -e; for row in $(INSTALLED); do \
	  mode=$${row%%:*}; row=$${row#*:}; install -D -m $$mode $${row%%:*} $(DESTDIR)$${row#*:}; done
	$(Q)[ -e $(DESTDIR)$(SYSCONFDIR)/wipyd.conf ] || \
	  install -D -m 644 systemd/wipyd.conf $(DESTDIR)$(SYSCONFDIR)/wipyd.conf
	@[ -n "$(DESTDIR)" ] || echo 'Now, as root: systemd-sysusers && systemctl daemon-reload && systemctl reload dbus &&' \
	  'udevadm control --reload && journalctl --update-catalog && systemctl enable --now wipyd'

uninstall: ## Remove what install put there; the configuration and /var/lib/wipyd stay
	$(Q)rm -f $(foreach row,$(INSTALLED),$(DESTDIR)$(lastword $(subst :, ,$(row)))) \
	  $(DESTDIR)$(SHARE)/wipyd/stub/esp32.json $(DESTDIR)$(SHARE)/wipyd/stub/README
	@echo '$(DESTDIR)$(SYSCONFDIR)/wipyd.conf and $(DESTDIR)/var/lib/wipyd, if they are there, stay.'

deb: ## Build the Debian package build/wipyd_VERSION_ARCH.deb
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_DEB)
	@$(MAKE) --no-print-directory all
	@MAKE='$(MAKE)' systemd/debian/build.sh $(BUILD) $(VERSION)

clean: ## Remove what was built
	rm -rf build build-*

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
