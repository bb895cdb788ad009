/* What wipyctl's doctor sees of a machine: made of files in a folder of the test's own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/doctor.h"
#include "tests/unit/test_folder.h"

#define USB "/sys/bus/usb/devices/"

struct bench {
    char root[64];
    struct doctor doctor;
    char said[4096]; /* "state what: text | cure", a line each */
};

static struct bench *bench_of_tell;

void doctor_tell(struct doctor *doctor, enum doctor_state state, const char *what, const char *cure,
                 const char *format, ...) {
    static const char *const words[DOCTOR_STATE_COUNT] = { "ok", "warning", "failed" };
    char *said = bench_of_tell->said;
    va_list arguments;

    doctor->n[state]++;
    snprintf(said + strlen(said), sizeof bench_of_tell->said - strlen(said), "%s %s: ", words[state], what);
    va_start(arguments, format);
    vsnprintf(said + strlen(said), sizeof bench_of_tell->said - strlen(said), format, arguments);
    va_end(arguments);
    snprintf(said + strlen(said), sizeof bench_of_tell->said - strlen(said), " | %s\n", cure ? cure : "");
    assert_true((state == DOCTOR_OK) == (cure == NULL));
}

static int set_up(void **state) {
    static const char *const proxies[] = { "https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy",
                                           "ALL_PROXY" };
    struct bench *bench = calloc(1, sizeof *bench);

    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++)
        unsetenv(proxies[i]);
    folder_make(bench->root, sizeof bench->root);
    setenv("WIPYCTL_ROOT", bench->root, 1);
    *state = bench_of_tell = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    folder_remove(bench->root);
    free(bench);
    return 0;
}

/* A file with its folders. */
static void put(struct bench *bench, const char *name, const char *text) {
    char path[400];
    FILE *file;

    snprintf(path, sizeof path, "%s%s", bench->root, name);
    for (char *slash = strchr(path + strlen(bench->root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void put_usb(struct bench *bench, const char *device, const char *attribute, const char *value) {
    char name[200];

    snprintf(name, sizeof name, USB "%s/%s", device, attribute);
    put(bench, name, value);
}

static void plug(struct bench *bench, const char *device, const char *vendor, const char *product,
                 const char *number) {
    put_usb(bench, device, "idVendor", vendor);
    put_usb(bench, device, "idProduct", product);
    put_usb(bench, device, "dev", number);
}

static void assert_said(const struct bench *bench, const char *text) {
    if (!strstr(bench->said, text))
        fail_msg("not said: %s\nbut:\n%s", text, bench->said);
}

static void check_neighbours(struct bench *bench, bool modem_manager) {
    *bench->said = 0;
    doctor_check_neighbours(&bench->doctor, modem_manager);
}

static void check_host(struct bench *bench) {
    *bench->said = 0;
    doctor_check_host(&bench->doctor);
}

static void machine_without_anything(void **state) {
    struct bench *bench = *state;

    check_neighbours(bench, false);
    assert_said(bench, "ok modemmanager: ModemManager isn't running");
    assert_said(bench, "ok brltty: brltty isn't running");
    check_neighbours(bench, true);
    assert_said(bench, "kept away from all 0 adapters");
    check_host(bench);
    assert_said(bench, "ok usb-power: 0 USB hubs, none asked");
    assert_said(bench, "ok clock: the clock says 20");
    assert_said(bench, "ok proxy: no proxy");
}

static void modem_manager_and_its_adapters(void **state) {
    struct bench *bench = *state;

    plug(bench, "1-1", "10c4\n", "ea60\n", "189:1\n");
    plug(bench, "1-2", "0403\n", "6015\n", "189:2\n");
    plug(bench, "1-3", "1d6b\n", "0002\n", "189:3\n"); /* a hub */
    plug(bench, "1-4", "0403\n", "6000\n", "189:4\n"); /* no product of ours */
    plug(bench, "1-5", "0403\n", "601\n", "189:5\n");
    put_usb(bench, "1-1:1.0", "idVendor", "10c4\n");
    put_usb(bench, "usb1", "idVendor", "10c4\n");
    put(bench, "/run/udev/data/c189:1", "I:1\nE:ID_MM_DEVICE_IGNORE=1\n");
    put(bench, "/run/udev/data/c189:2", "I:1\nE:ID_MM_DEVICE_IGNORE=0\n");
    check_neighbours(bench, true);
    assert_said(
        bench,
        "warning modemmanager: ModemManager runs, and nothing keeps it away from 1 of 2 adapters (USB 1-2)");
    put(bench, "/run/udev/data/c189:2", "E:ID_MM_DEVICE_IGNORE=1\n");
    check_neighbours(bench, true);
    assert_said(bench, "ok modemmanager: ModemManager runs, and is kept away from all 2 adapters");
    put_usb(bench, "1-2", "dev", ""); /* without a number there is no record */
    check_neighbours(bench, true);
    assert_said(bench, "from 1 of 2 adapters");
}

static void braille_displays(void **state) {
    struct bench *bench = *state;

    put(bench, "/proc/self/comm", "brltty\n"); /* no number, no process */
    put(bench, "/proc/17/comm", "bash\n");
    check_neighbours(bench, false);
    assert_said(bench, "ok brltty");
    put(bench, "/proc/18/comm", "brltty\n");
    check_neighbours(bench, false);
    assert_said(bench, "warning brltty: brltty runs | Where no Braille display");
}

static void hubs_without_a_supply(void **state) {
    struct bench *bench = *state;

    put_usb(bench, "1-1", "bDeviceClass", "09\n");
    put_usb(bench, "1-1", "bmAttributes", "e0\n");
    put_usb(bench, "1-2", "bDeviceClass", "09\n");
    put_usb(bench, "1-2", "bmAttributes", "80\n");
    for (char port = '1'; port <= '4'; port++) {
        char name[] = "1-2.x", far[] = "1-2.x.1";

        name[4] = far[4] = port;
        put_usb(bench, name, "bMaxPower", "100mA\n");
        put_usb(bench, far, "bMaxPower", "500mA\n"); /* hangs on another */
    }
    check_host(bench);
    assert_said(bench, "ok usb-power: 2 USB hubs, none asked for more");
    put_usb(bench, "1-2.5", "bMaxPower", "2mA\n");
    check_host(bench);
    assert_said(
        bench,
        "warning usb-power: the hub at USB 1-2 has no supply of its own, and its 5 devices may want 402 mA");
    put_usb(bench, "1-2", "bmAttributes", "e0\n");
    check_host(bench);
    assert_said(bench, "ok usb-power");
}

static void proxies(void **state) {
    struct bench *bench = *state;

    setenv("http_proxy", "", 1);
    check_host(bench);
    assert_said(bench, "ok proxy: no proxy");
    setenv("all_proxy", "http://proxy:3128", 1);
    check_host(bench);
    assert_said(bench, "warning proxy: this shell uses a proxy (all_proxy)");
    put(bench, "/etc/wipyd.conf", "[firmware]\n# proxy = x\nproxyless = y\nproxy =  \n");
    check_host(bench);
    assert_said(bench, "warning proxy");
    put(bench, "/etc/wipyd.conf.d/10.conf", "[firmware]\n  proxy\t= http://proxy:3128\n");
    check_host(bench);
    assert_said(bench, "ok proxy: wipyd asks its sources through a proxy");
    put(bench, "/etc/wipyd.conf", "proxy=http://proxy:3128\n");
    check_host(bench);
    assert_said(bench, "through a proxy");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(machine_without_anything),
        TEST(modem_manager_and_its_adapters),
        TEST(braille_displays),
        TEST(hubs_without_a_supply),
        TEST(proxies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
