# wipyd: see `make help`.

BUILD   ?= build
VERSION := 0.1.0
PREFIX  ?= /usr
SYSCONFDIR ?= /etc
DESTDIR ?=

# ---- packages: the one list --------------------------------------------------------------------------------------
DEPS_BUILD := gcc make pkg-config libc6-dev libuv1-dev libsystemd-dev libarchive-dev libyajl-dev libdeflate-dev \
              libssl-dev libsmartcols-dev libinih-dev
DEPS_TEST  := libcmocka-dev zlib1g-dev dbus systemd python3 procps
DEPS_CHECK := clang clang-format clang-tidy cppcheck libclang-rt-14-dev

# ---- flags -------------------------------------------------------------------------------------------------------
# pkg-config runs when a rule needs it, after `deps` has had its chance.
PKGS_DAEMON := libuv libsystemd libarchive yajl libdeflate libcrypto inih
PKGS_CLIENT := libsystemd yajl smartcols
PKGS_SIM    := zlib libcrypto
PKGS_TEST   := cmocka zlib

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
ALL_CFLAGS = $(CSTD) $(OPT) $(HARDEN) $(WARN) -MMD -MP $(CFLAGS)
LINK_FLAGS = $(OPT) -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)

# ---- what is built from what -------------------------------------------------------------------------------------
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))
PROTO_SRC  := $(wildcard proto/*.c)
DAEMON_SRC := $(filter-out daemon/main.c,$(wildcard daemon/*/*.c))
CLIENT_SRC := $(wildcard client/*.c)
SIM_SRC    := $(wildcard tests/sim/*.c)
UNIT_SRC   := $(wildcard tests/unit/test_*.c)
UNIT_BIN   := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)
LIB := $(BUILD)/libwipyd.a
ALL_SRC := $(PROTO_SRC) $(DAEMON_SRC) daemon/main.c $(CLIENT_SRC) $(SIM_SRC) $(wildcard tests/*/*.c)

.DELETE_ON_ERROR:
.PHONY: all
all: $(BUILD)/wipyd $(BUILD)/wipyctl ## Build wipyd and wipyctl

$(LIB): $(call obj,$(DAEMON_SRC) $(PROTO_SRC))
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/wipyd: $(call obj,daemon/main.c) $(LIB)
	$(CC) $(LINK_FLAGS) -o $@ $^ $$(pkg-config --libs $(PKGS_DAEMON))

$(BUILD)/wipyctl: $(call obj,$(CLIENT_SRC) $(PROTO_SRC))
	$(CC) $(LINK_FLAGS) -o $@ $^ $$(pkg-config --libs $(PKGS_CLIENT))

$(BUILD)/wipysim: $(call obj,$(SIM_SRC))
	$(CC) $(LINK_FLAGS) -o $@ $^ $$(pkg-config --libs $(PKGS_SIM))

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LINK_FLAGS) -o $@ $^ $$(pkg-config --libs $(PKGS_DAEMON) $(PKGS_TEST))

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $$(pkg-config --cflags $(PKGS_DAEMON) $(PKGS_CLIENT) libdeflate) -c -o $@ $<

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
