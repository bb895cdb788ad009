/* The configuration: defaults, files and drop-ins, and errors that name file and line. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/base/config.h"
#include "tests/unit/test_folder.h"

struct bench {
    char directory[64], path[128];
    struct config config;
    struct fault fault;
};

static void write_file(const char *path, const char *text, size_t size) {
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    unsetenv("STATE_DIRECTORY");
    folder_make(bench->directory, sizeof bench->directory);
    snprintf(bench->path, sizeof bench->path, "%s/wipyd.conf", bench->directory);
    assert_int_equal(config_init(&bench->config), 0);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    config_deinit(&bench->config);
    assert_null(bench->config.state_directory);
    folder_remove(bench->directory);
    free(bench);
    return 0;
}

static enum wipyd_error read_text(struct bench *bench, const char *text) {
    memset(&bench->fault, 0, sizeof bench->fault);
    write_file(bench->path, text, strlen(text));
    return config_read(&bench->config, bench->path, true, &bench->fault);
}

/* story: what follows "FILE:" */
static void assert_fails(struct bench *bench, const char *text, const char *story) {
    char wanted[sizeof bench->fault.story];

    assert_int_equal(read_text(bench, text), WIPYD_ERROR_INVALID_ARGUMENT);
    assert_int_equal(bench->fault.code, WIPYD_ERROR_INVALID_ARGUMENT);
    snprintf(wanted, sizeof wanted, "%s:%s", bench->path, story);
    assert_string_equal(bench->fault.story, wanted);
}

static void add_drop_in(const struct bench *bench, const char *name, const char *text) {
    char path[256];

    snprintf(path, sizeof path, "%s.d", bench->path);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s.d/%s", bench->path, name);
    write_file(path, text, strlen(text));
}

static void auto_is_a_rate(void **state) {
    struct bench *bench = *state;

    assert_int_equal(read_text(bench, "[flash]\nbaud = 230400\n"), WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.baud, 230400);
    assert_int_equal(read_text(bench, "[flash]\nbaud = auto\n"), WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.baud, 0);
    assert_fails(bench, "[flash]\nbaud = automatic\n",
                 "2: baud = \"automatic\": a number from 9600 to 4000000, or auto, is wanted");
    assert_fails(bench, "[flash]\nattempts = auto\n",
                 "2: attempts = \"auto\": a number from 1 to 100 is wanted");
}

static void defaults(void **state) {
    struct bench *bench = *state;

    assert_string_equal(bench->config.state_directory, "/var/lib/wipyd");
    assert_int_equal(bench->config.log_level, LOG_INFO);
    assert_int_equal(bench->config.baud, 0);
    assert_int_equal(bench->config.connect_timeout_s, 60);
    assert_int_equal(bench->config.attempts, 5);
    assert_int_equal(bench->config.policy, BOARD_POLICY_WIPY);
    assert_int_equal(bench->config.settle_ms, 1000);
    assert_int_equal(bench->config.syncs, 4);
    assert_int_equal(bench->config.listen_ms, 500);
    assert_int_equal(bench->config.coach_s, 600);
    assert_int_equal(bench->config.n_adapters, 0);
    assert_int_equal(bench->config.n_ports, 0);
    assert_int_equal(bench->config.n_sources, 1);
    assert_int_equal(bench->config.sources[0].kind, CONFIG_SOURCE_FINDUPGRADE);
    assert_string_equal(
        bench->config.sources[0].url,
        "https://software.pycom.io/findupgrade?key=wipy.wipy%20with%20esp32&redirect=false&type=all");
    assert_int_equal(bench->config.poll_interval_s, 86400);
    assert_int_equal(bench->config.timeout_s, 30);
    assert_null(bench->config.proxy);
    assert_null(bench->config.ca_file);
    assert_false(bench->config.allow_http);
    assert_int_equal(bench->config.keep_packages, 20);
    assert_int_equal(bench->config.keep_mib, 200);
    config_deinit(&bench->config);
    setenv("STATE_DIRECTORY", "/somewhere", 1);
    assert_int_equal(config_init(&bench->config), 0);
    assert_string_equal(bench->config.state_directory, "/somewhere");
    unsetenv("STATE_DIRECTORY");
}

static void every_key_is_read(void **state) {
    struct bench *bench = *state;

    assert_int_equal(read_text(bench, "# a comment\n"
                                      "; another\n"
                                      "[daemon]\n"
                                      "state-directory = /srv/wipyd\n"
                                      "log-level=debug\n"
                                      "\n"
                                      "[flash]\r\n"
                                      "  baud = 921600 ; fast\r\n"
                                      "connect-timeout = 3600\n"
                                      "[ports]\n"
                                      "port = /dev/ttyS0\n"
                                      "\tport = /dev/serial/by-id/usb-FTDI_FT231X-if00-port0\n"
                                      "port = /dev/ttyS0"),
                     WIPYD_ERROR_NONE);
    assert_string_equal(bench->config.state_directory, "/srv/wipyd");
    assert_int_equal(bench->config.log_level, LOG_DEBUG);
    assert_int_equal(bench->config.baud, 921600);
    assert_int_equal(bench->config.connect_timeout_s, 3600);
    assert_int_equal(bench->config.n_ports, 2);
    assert_string_equal(bench->config.ports[0], "/dev/ttyS0");
    assert_string_equal(bench->config.ports[1], "/dev/serial/by-id/usb-FTDI_FT231X-if00-port0");
}

static void every_board_key_is_read(void **state) {
    static const struct {
        const char *word;
        enum board_policy policy;
    } policies[] = { { "off", BOARD_POLICY_OFF },
                     { "ask", BOARD_POLICY_ASK },
                     { "wipy", BOARD_POLICY_WIPY },
                     { "any", BOARD_POLICY_ANY } };
    struct bench *bench = *state;
    char text[64];

    assert_int_equal(read_text(bench, "[flash]\n"
                                      "attempts = 100\n"
                                      "[boards]\n"
                                      "policy = ask\n"
                                      "settle = 0\n"
                                      "syncs = 20\n"
                                      "listen = 3000\n"
                                      "coach = 86400\n"
                                      "[adapters]\n"
                                      "adapter = 1a86:7523 CH340\n"
                                      "adapter = 067B:23a3\tPL2303 GT, blue ; a comment\n"),
                     WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.attempts, 100);
    assert_int_equal(bench->config.policy, BOARD_POLICY_ASK);
    assert_int_equal(bench->config.settle_ms, 0);
    assert_int_equal(bench->config.syncs, 20);
    assert_int_equal(bench->config.listen_ms, 3000);
    assert_int_equal(bench->config.coach_s, 86400);
    assert_int_equal(bench->config.n_adapters, 2);
    assert_int_equal(bench->config.adapters[0].vendor, 0x1a86);
    assert_int_equal(bench->config.adapters[0].product, 0x7523);
    assert_string_equal(bench->config.adapters[0].name, "CH340");
    assert_int_equal(bench->config.adapters[1].vendor, 0x067b);
    assert_int_equal(bench->config.adapters[1].product, 0x23a3);
    assert_string_equal(bench->config.adapters[1].name, "PL2303 GT, blue");
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        snprintf(text, sizeof text, "[boards]\npolicy = %s\n", policies[i].word);
        assert_int_equal(read_text(bench, text), WIPYD_ERROR_NONE);
        assert_int_equal(bench->config.policy, policies[i].policy);
    }
}

static void bad_board_keys(void **state) {
    static const struct {
        const char *section, *key, *value, *wanted;
    } cases[] = {
        { "flash", "attempts", "0", "a number from 1 to 100 is wanted" },
        { "flash", "attempts", "101", "a number from 1 to 100 is wanted" },
        { "boards", "policy", "", "off, ask, wipy or any is wanted" },
        { "boards", "policy", "WIPY", "off, ask, wipy or any is wanted" },
        { "boards", "policy", "all", "off, ask, wipy or any is wanted" },
        { "boards", "settle", "60001", "a number from 0 to 60000 is wanted" },
        { "boards", "settle", "-1", "a number from 0 to 60000 is wanted" },
        { "boards", "syncs", "21", "a number from 0 to 20 is wanted" },
        { "boards", "listen", "3001", "a number from 0 to 3000 is wanted" },
        { "boards", "coach", "86401", "a number from 0 to 86400 is wanted" },
        { "adapters", "adapter", "", "VVVV:PPPP, the USB ids in hex, and a name is wanted" },
        { "adapters", "adapter", "1a86", "VVVV:PPPP, the USB ids in hex, and a name is wanted" },
        { "adapters", "adapter", "1a86:7523", "VVVV:PPPP, the USB ids in hex, and a name is wanted" },
        { "adapters", "adapter", "1a86:752 CH340", "VVVV:PPPP, the USB ids in hex, and a name is wanted" },
        { "adapters", "adapter", "1a86:75234 CH340", "VVVV:PPPP, the USB ids in hex, and a name is wanted" },
        { "adapters", "adapter", "0x1a86:0x7523 CH340",
          "VVVV:PPPP, the USB ids in hex, and a name is wanted" },
        { "adapters", "adapter", "1a86 7523 CH340", "VVVV:PPPP, the USB ids in hex, and a name is wanted" },
        { "adapters", "adapter", "1a86:7523 A name that has 32 bytes, not 31",
          "a name of at most 31 bytes is wanted" },
        { "adapters", "adapter", "1a86:7523 CH\xc3\xa4", "a name in printable ASCII is wanted" },
    };
    struct bench *bench = *state;
    char text[256], story[256];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "[%s]\n%s = %s\n", cases[i].section, cases[i].key, cases[i].value);
        snprintf(story, sizeof story, "2: %s = \"%s\": %s", cases[i].key, cases[i].value, cases[i].wanted);
        assert_fails(bench, text, story);
    }
    assert_int_equal(bench->config.policy, BOARD_POLICY_WIPY);
    assert_int_equal(bench->config.attempts, 5);
    assert_int_equal(bench->config.n_adapters, 0);
}

static void adapters_are_bounded(void **state) {
    struct bench *bench = *state;
    char text[2048];
    size_t n = 0;

    n += (size_t)snprintf(text, sizeof text, "[adapters]\n");
    for (unsigned i = 0; i < CONFIG_ADAPTERS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "adapter = 1234:%04x Name %u\n", i, i);
    assert_int_equal(read_text(bench, text), WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.n_adapters, CONFIG_ADAPTERS_MAX);
    assert_fails(bench, "[adapters]\nadapter = 1234:ffff One more\n",
                 "2: adapter = \"1234:ffff One more\": no more than 32 adapters");
    /* The same ids again: another name. */
    assert_int_equal(read_text(bench, "[adapters]\nadapter = 1234:0007 Seven\n"), WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.n_adapters, CONFIG_ADAPTERS_MAX);
    assert_string_equal(bench->config.adapters[7].name, "Seven");
}

static void assert_source(const struct bench *bench, unsigned index, enum config_source_kind kind,
                          const char *url) {
    assert_true(index < bench->config.n_sources);
    assert_int_equal(bench->config.sources[index].kind, kind);
    assert_string_equal(bench->config.sources[index].url, url);
}

static void every_firmware_key_is_read(void **state) {
    struct bench *bench = *state;

    assert_int_equal(read_text(bench, "[firmware]\n"
                                      "source = findupgrade https://a.example/f?key=x%20y&type=all;b\n"
                                      "source = mirror\thttp://b.example/wipy/\n"
                                      "source = folder file:///srv/my packages ; a comment\n"
                                      "source = folder /srv/p\n"
                                      "poll-interval = 60\n"
                                      "timeout = 600\n"
                                      "proxy = http://proxy.example:3128\n"
                                      "ca-file = /etc/ca.pem\n"
                                      "allow-http = yes\n"
                                      "keep-packages = 1\n"
                                      "keep-mib = 1000\n"),
                     WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.n_sources, 4);
    assert_source(bench, 0, CONFIG_SOURCE_FINDUPGRADE, "https://a.example/f?key=x%20y&type=all;b");
    assert_source(bench, 1, CONFIG_SOURCE_MIRROR, "http://b.example/wipy/");
    assert_source(bench, 2, CONFIG_SOURCE_FOLDER, "/srv/my packages");
    assert_source(bench, 3, CONFIG_SOURCE_FOLDER, "/srv/p");
    assert_int_equal(bench->config.poll_interval_s, 60);
    assert_int_equal(bench->config.timeout_s, 600);
    assert_string_equal(bench->config.proxy, "http://proxy.example:3128");
    assert_string_equal(bench->config.ca_file, "/etc/ca.pem");
    assert_true(bench->config.allow_http);
    assert_int_equal(bench->config.keep_packages, 1);
    assert_int_equal(bench->config.keep_mib, 1000);
    assert_int_equal(read_text(bench, "[firmware]\nallow-http = no\nproxy =\n"), WIPYD_ERROR_NONE);
    assert_false(bench->config.allow_http);
    assert_string_equal(bench->config.proxy, "");
}

static void empty_source_means_none(void **state) {
    struct bench *bench = *state;

    assert_int_equal(read_text(bench, "[firmware]\nsource =\n"), WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.n_sources, 0);
    /* Also those of the files before. */
    add_drop_in(bench, "10-a.conf", "[firmware]\nsource = folder /a\nsource =\nsource = folder /b\n");
    assert_int_equal(read_text(bench, "[firmware]\nsource = folder /0\n"), WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.n_sources, 1);
    assert_source(bench, 0, CONFIG_SOURCE_FOLDER, "/b");
}

static void long_urls_fit(void **state) {
    struct bench *bench = *state;
    char text[512], url[160] = "https://a.example/";

    memset(url + strlen(url), 'x', 100);
    snprintf(text, sizeof text, "[firmware]\nsource = findupgrade %s\n", url);
    assert_int_equal(read_text(bench, text), WIPYD_ERROR_NONE);
    assert_source(bench, 0, CONFIG_SOURCE_FINDUPGRADE, url);
}

static void bad_sources(void **state) {
    static const struct {
        const char *value, *wanted;
    } cases[] = {
        { "https://a.example/", "findupgrade, mirror or folder is wanted, then a URL" },
        { "find https://a.example/", "findupgrade, mirror or folder is wanted, then a URL" },
        { "findupgrade", "a URL that begins with https:// or http:// is wanted" },
        { "findupgrade file:///a", "a URL that begins with https:// or http:// is wanted" },
        { "mirror ftp://a.example/", "a URL that begins with https:// or http:// is wanted" },
        { "mirror https://a.example/a b", "a URL without blanks is wanted" },
        { "mirror https://a.example/\xc3\xa4", "a URL without blanks is wanted" },
        { "folder packages", "an absolute path, or file:// and one, is wanted" },
        { "folder file://host/packages", "an absolute path, or file:// and one, is wanted" },
    };
    struct bench *bench = *state;
    char text[256], story[256];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "[firmware]\nsource = %s\n", cases[i].value);
        snprintf(story, sizeof story, "2: source = \"%s\": %s", cases[i].value, cases[i].wanted);
        assert_fails(bench, text, story);
        assert_int_equal(bench->config.n_sources, 1);
        assert_source(bench, 0, CONFIG_SOURCE_FINDUPGRADE, CONFIG_SOURCE_DEFAULT);
    }
    strcpy(text, "[firmware]\n");
    for (int i = 0; i < CONFIG_SOURCES_MAX; i++)
        strcat(text, "source = folder /a\n");
    assert_int_equal(read_text(bench, text), WIPYD_ERROR_NONE);
    assert_fails(bench, "[firmware]\nsource = folder /b\n",
                 "2: source = \"folder /b\": no more than 8 sources");
    assert_fails(bench, "[firmware]\nallow-http = maybe\n", "2: allow-http = \"maybe\": yes or no is wanted");
    assert_fails(bench, "[firmware]\nproxy = a b\n", "2: proxy = \"a b\": a URL without blanks is wanted");
    assert_fails(bench, "[firmware]\nca-file = ca.pem\n",
                 "2: ca-file = \"ca.pem\": an absolute path is wanted");
    assert_fails(bench, "[firmware]\npoll-interval = 0\n",
                 "2: poll-interval = \"0\": a number from 1 to 2592000 is wanted");
}

static void empty_file_is_fine(void **state) {
    struct bench *bench = *state;

    assert_int_equal(read_text(bench, ""), WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.baud, 0);
}

static void missing_file(void **state) {
    struct bench *bench = *state;

    assert_int_equal(config_read(&bench->config, bench->path, false, &bench->fault), WIPYD_ERROR_NONE);
    assert_int_equal(config_read(&bench->config, bench->path, true, &bench->fault),
                     WIPYD_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(bench->fault.story, "wipyd.conf: No such file"));
    /* Drop-ins count without it. */
    add_drop_in(bench, "a.conf", "[flash]\nbaud = 9600\n");
    assert_int_equal(config_read(&bench->config, bench->path, false, NULL), WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.baud, 9600);
}

static void directory_as_file(void **state) {
    struct bench *bench = *state;

    assert_int_not_equal(config_read(&bench->config, bench->directory, true, &bench->fault),
                         WIPYD_ERROR_NONE);
    assert_non_null(strstr(bench->fault.story, "Is a directory"));
}

static void errors_name_file_and_line(void **state) {
    struct bench *bench = *state;

    assert_fails(bench, "[flash]\n\n# x\nbuad = 9600\n", "4: unknown key \"buad\"");
    assert_fails(bench, "[flash]\nport = /dev/ttyS0\n", "2: unknown key \"port\"");
    assert_fails(bench, "\n[flahs]\nbaud = 9600\n", "2: unknown section \"flahs\"");
    assert_fails(bench, "[flahs]\n", "1: unknown section \"flahs\"");
    assert_fails(bench, "baud = 9600\n", "1: key outside a section: \"baud\"");
    assert_fails(bench, "[flash]\nbaud\n", "2: neither [section] nor key = value");
    assert_fails(bench, "[flash\nbaud = 9600\n", "1: neither [section] nor key = value");
    /* The first error counts, whatever follows. */
    assert_fails(bench, "[flash]\nnonsense\nbaud = 1\n", "2: neither [section] nor key = value");
    assert_fails(bench, "[flash]\nbaud = 1\nnonsense\n",
                 "2: baud = \"1\": a number from 9600 to 4000000, or auto, is wanted");
    assert_fails(bench, "[flash]\nbaud = 9600\n[x]\nnonsense\nbaud = 1\n", "3: unknown section \"x\"");
}

static void values_are_bounded(void **state) {
    static const char *const bad_numbers[] = {
        "9599",       "4000001", "",       "x",      "9600x",
        "-9600",      "+9600",   "9600.0", "0x2580", "99999999999999999999",
        "4294976896",
    };
    struct bench *bench = *state;
    char text[128], story[160];

    for (size_t i = 0; i < sizeof bad_numbers / sizeof *bad_numbers; i++) {
        snprintf(text, sizeof text, "[flash]\nbaud = %s\n", bad_numbers[i]);
        snprintf(story, sizeof story, "2: baud = \"%s\": a number from 9600 to 4000000, or auto, is wanted",
                 bad_numbers[i]);
        assert_fails(bench, text, story);
        assert_int_equal(bench->config.baud, 0);
    }
    assert_int_equal(read_text(bench, "[flash]\nbaud = 9600\n"), WIPYD_ERROR_NONE);
    assert_int_equal(read_text(bench, "[flash]\nbaud = 4000000\n"), WIPYD_ERROR_NONE);
    assert_fails(bench, "[flash]\nconnect-timeout = 0\n",
                 "2: connect-timeout = \"0\": a number from 1 to 3600 is wanted");
    assert_fails(bench, "[daemon]\nlog-level = loud\n",
                 "2: log-level = \"loud\": error, warning, notice, info or debug is wanted");
    assert_fails(bench, "[daemon]\nstate-directory = here\n",
                 "2: state-directory = \"here\": an absolute path is wanted");
    assert_fails(bench, "[ports]\nport = ttyS0\n", "2: port = \"ttyS0\": an absolute path is wanted");
}

static void odd_bytes(void **state) {
    static const char nul[] = "[flash]\nbaud = 96\0"
                              "00\n";
    struct bench *bench = *state;
    char text[1024];

    write_file(bench->path, nul, sizeof nul - 1);
    assert_int_equal(config_read(&bench->config, bench->path, true, &bench->fault),
                     WIPYD_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(bench->fault.story, "wipyd.conf:2: a NUL byte"));
    strcpy(text, "[ports]\nport = /");
    memset(text + strlen(text), 'x', 900);
    text[920] = 0;
    assert_fails(bench, text, "2: the line is too long");
}

static void drop_ins_in_order_of_name(void **state) {
    struct bench *bench = *state;
    char wanted[sizeof bench->fault.story];

    add_drop_in(bench, "20-b.conf", "[flash]\nbaud = 230400\n[ports]\nport = /dev/b\n");
    add_drop_in(bench, "10-a.conf", "[flash]\nbaud = 460800\nconnect-timeout = 5\n[ports]\nport = /dev/a\n");
    add_drop_in(bench, "30-c.conf.bak", "nonsense\n");
    add_drop_in(bench, ".40-d.conf", "nonsense\n");
    assert_int_equal(read_text(bench, "[flash]\nbaud = 9600\n[ports]\nport = /dev/0\n"), WIPYD_ERROR_NONE);
    assert_int_equal(bench->config.baud, 230400);
    assert_int_equal(bench->config.connect_timeout_s, 5);
    assert_int_equal(bench->config.n_ports, 3);
    assert_string_equal(bench->config.ports[0], "/dev/0");
    assert_string_equal(bench->config.ports[1], "/dev/a");
    assert_string_equal(bench->config.ports[2], "/dev/b");
    add_drop_in(bench, "15-e.conf", "[ports]\n\nprt = x\n");
    assert_int_equal(read_text(bench, ""), WIPYD_ERROR_INVALID_ARGUMENT);
    snprintf(wanted, sizeof wanted, "%s.d/15-e.conf:3: unknown key \"prt\"", bench->path);
    assert_string_equal(bench->fault.story, wanted);
}

static void too_many_ports(void **state) {
    struct bench *bench = *state;
    char path[32];

    for (int i = 0; i < CONFIG_PORTS_MAX; i++) {
        snprintf(path, sizeof path, "/dev/tty%d", i);
        assert_int_equal(config_add_port(&bench->config, path), 0);
    }
    assert_int_equal(config_add_port(&bench->config, "/dev/tty0"), 0);
    assert_int_equal(config_add_port(&bench->config, "/dev/more"), -ENOSPC);
    assert_fails(bench, "[ports]\nport = /dev/more\n", "2: port = \"/dev/more\": no more than 64 ports");
    assert_int_equal(bench->config.n_ports, CONFIG_PORTS_MAX);
}

/* ---- taken over ------------------------------------------------------------------------------- */

static char restarts[512];

static void on_restart(const char *section, const char *name) {
    strcat(strcat(strcat(strcat(restarts, section), " "), name), ";");
}

static void take(struct bench *bench, const char *file) {
    struct config fresh;

    *restarts = 0;
    write_file(bench->path, file, strlen(file));
    assert_int_equal(config_init(&fresh), 0);
    assert_int_equal(config_read(&fresh, bench->path, true, &bench->fault), WIPYD_ERROR_NONE);
    config_take(&bench->config, &fresh, on_restart);
    config_deinit(&fresh);
}

static void values_are_taken_over(void **state) {
    struct bench *bench = *state;

    take(bench,
         "[daemon]\nlog-level = debug\n[flash]\nbaud = 9600\nconnect-timeout = 7\nattempts = 3\n"
         "[boards]\npolicy = off\nsettle = 1\nsyncs = 2\nlisten = 3\ncoach = 4\n"
         "[firmware]\npoll-interval = 5\ntimeout = 6\nallow-http = yes\nkeep-packages = 8\nkeep-mib = 9\n");
    assert_string_equal(restarts, "");
    assert_int_equal(bench->config.log_level, LOG_DEBUG);
    assert_int_equal(bench->config.baud, 9600);
    assert_int_equal(bench->config.connect_timeout_s, 7);
    assert_int_equal(bench->config.attempts, 3);
    assert_int_equal(bench->config.policy, BOARD_POLICY_OFF);
    assert_int_equal(bench->config.settle_ms, 1);
    assert_int_equal(bench->config.syncs, 2);
    assert_int_equal(bench->config.listen_ms, 3);
    assert_int_equal(bench->config.coach_s, 4);
    assert_int_equal(bench->config.poll_interval_s, 5);
    assert_int_equal(bench->config.timeout_s, 6);
    assert_true(bench->config.allow_http);
    assert_int_equal(bench->config.keep_packages, 8);
    assert_int_equal(bench->config.keep_mib, 9);
    /* What isn't there any more has its default again. */
    take(bench, "");
    assert_int_equal(bench->config.baud, 0);
    assert_false(bench->config.allow_http);
}

/* Others hold pointers to them. */
static void texts_and_lists_stay(void **state) {
    struct bench *bench = *state;
    const char *directory = bench->config.state_directory, *source = bench->config.sources[0].url;

    take(bench,
         "[daemon]\nstate-directory = /elsewhere\n[adapters]\nadapter = 1a86:7523 CH340\n"
         "[firmware]\nsource = folder /srv\nproxy = http://p\nca-file = /ca\n[ports]\nport = /dev/x\n");
    assert_string_equal(restarts, "daemon state-directory;adapters adapter;firmware source;firmware proxy;"
                                  "firmware ca-file;ports port;");
    assert_ptr_equal(bench->config.state_directory, directory);
    assert_ptr_equal(bench->config.sources[0].url, source);
    assert_int_equal(bench->config.n_ports, 0);
    assert_int_equal(bench->config.n_adapters, 0);
    assert_null(bench->config.proxy);
    assert_null(bench->config.ca_file);
    take(bench, "");
    assert_string_equal(restarts, "");
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(defaults),
        moment(auto_is_a_rate),
        moment(every_key_is_read),
        moment(every_board_key_is_read),
        moment(bad_board_keys),
        moment(adapters_are_bounded),
        moment(empty_file_is_fine),
        moment(missing_file),
        moment(directory_as_file),
        moment(errors_name_file_and_line),
        moment(values_are_bounded),
        moment(odd_bytes),
        moment(drop_ins_in_order_of_name),
        moment(too_many_ports),
        moment(every_firmware_key_is_read),
        moment(empty_source_means_none),
        moment(long_urls_fit),
        moment(bad_sources),
        moment(values_are_taken_over),
        moment(texts_and_lists_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
