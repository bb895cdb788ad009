#include <ctype.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/doctor.h"

/* ---- files ----------------------------------------------------------------------------------- */

/* Tests look at a machine of their own. */
static const char *root(void) {
    const char *other = getenv("WIPYCTL_ROOT");

    return other ? other : "";
}

/* The first line of a file that is one value, without its end; "" where there is none. */
__attribute__((format(printf, 3, 4))) static const char *read_value(char *buffer, size_t n,
                                                                    const char *format, ...) {
    cleanup(free_p) char *name = NULL, *path = NULL;
    va_list arguments;
    FILE *file = NULL;
    int r;

    *buffer = '\0';
    va_start(arguments, format);
    r = vasprintf(&name, format, arguments);
    va_end(arguments);
    if (r < 0)
        name = NULL;
    if (name && asprintf(&path, "%s%s", root(), name) < 0)
        path = NULL;
    if (path)
        file = fopen(path, "re");
    if (!file)
        return buffer;
    if (!fgets(buffer, (int)n, file))
        *buffer = '\0';
    fclose(file);
    buffer[strcspn(buffer, "\n")] = '\0';
    return buffer;
}

static DIR *open_folder(const char *name) {
    cleanup(free_p) char *path = NULL;

    return asprintf(&path, "%s%s", root(), name) < 0 ? NULL : opendir(path);
}

/* ---- adapters -------------------------------------------------------------------------------- */

#define USB "/sys/bus/usb/devices/"

/* As in udev/90-wipyd.rules. */
static const struct {
    const char *vendor, *products;
} adapters[] = {
    { "10c4", "ea60 ea61 ea63 ea70 ea71 ea80" },
    { "0403", "6001 6010 6011 6014 6015" },
};

static bool is_adapter(const char *device) {
    char vendor[16], product[16];

    read_value(vendor, sizeof(vendor), USB "%s/idVendor", device);
    read_value(product, sizeof(product), USB "%s/idProduct", device);
    for (size_t i = 0; i < sizeof(adapters) / sizeof(adapters[0]); i++)
        if (!strcmp(vendor, adapters[i].vendor) && strlen(product) == 4 &&
            strstr(adapters[i].products, product))
            return true;
    return false;
}

/* Whether udev's record of the device says that ModemManager shall leave it alone. */
static bool is_kept_from_modem_manager(const char *device) {
    cleanup(free_p) char *path = NULL;
    char number[32], line[256];
    bool is_kept = false;
    FILE *file = NULL;

    read_value(number, sizeof(number), USB "%s/dev", device);
    if (*number && asprintf(&path, "%s/run/udev/data/c%s", root(), number) < 0)
        path = NULL;
    if (path)
        file = fopen(path, "re");
    while (file && !is_kept && fgets(line, sizeof(line), file))
        is_kept = !strcmp(line, "E:ID_MM_DEVICE_IGNORE=1\n");
    if (file)
        fclose(file);
    return is_kept;
}

static bool runs(const char *program) {
    DIR *folder = open_folder("/proc");
    struct dirent *entry;
    bool found = false;
    char name[64];

    while (folder && !found && (entry = readdir(folder)))
        if (isdigit((unsigned char)*entry->d_name))
            found = !strcmp(read_value(name, sizeof(name), "/proc/%s/comm", entry->d_name), program);
    if (folder)
        closedir(folder);
    return found;
}

/* A device's name has no ':', which an interface's has. */
static bool next_device(DIR *folder, struct dirent **entry) {
    while (folder && (*entry = readdir(folder)))
        if (isdigit((unsigned char)*(*entry)->d_name) && !strchr((*entry)->d_name, ':'))
            return true;
    return false;
}

void doctor_check_neighbours(struct doctor *doctor, bool modem_manager) {
    DIR *folder = open_folder("/sys/bus/usb/devices");
    size_t n_adapters = 0, n_open = 0;
    char first[256] = "";
    struct dirent *entry;

    while (next_device(folder, &entry)) {
        if (!is_adapter(entry->d_name))
            continue;
        n_adapters++;
        if (is_kept_from_modem_manager(entry->d_name))
            continue;
        if (!n_open++)
            snprintf(first, sizeof(first), "%s", entry->d_name);
    }
    if (folder)
        closedir(folder);
    if (!modem_manager)
        doctor_tell(doctor, DOCTOR_OK, "modemmanager", NULL, "ModemManager isn't running");
    else if (n_open)
        doctor_tell(doctor, DOCTOR_WARNING, "modemmanager",
                    "Install wipyd's udev rules, then: udevadm control --reload && udevadm trigger",
                    "ModemManager runs, and nothing keeps it away from %zu of %zu adapters (USB %s)", n_open,
                    n_adapters, first);
    else
        doctor_tell(doctor, DOCTOR_OK, "modemmanager", NULL,
                    "ModemManager runs, and is kept away from all %zu adapters", n_adapters);
    if (runs("brltty"))
        doctor_tell(doctor, DOCTOR_WARNING, "brltty",
                    "Where no Braille display is used, remove brltty: it takes CP210x and FTDI adapters for "
                    "displays.",
                    "brltty runs");
    else
        doctor_tell(doctor, DOCTOR_OK, "brltty", NULL, "brltty isn't running");
}

/* ---- power ----------------------------------------------------------------------------------- */

/* What a hub that is powered by the bus has for all of its ports together (USB 2.0, 11.4.1: 500 mA less 100
 * for itself). */
#define BUS_POWERED_HUB_MA 400
#define SELF_POWERED       0x40 /* of bmAttributes (USB 2.0, table 9-10) */

/* "1-2.3" hangs on "1-2"; "1-2" on the root hub, which has power of its own. */
static bool hangs_on(const char *device, const char *hub) {
    size_t n = strlen(hub);

    return !strncmp(device, hub, n) && device[n] == '.' && !strchr(device + n + 1, '.');
}

static unsigned long wanted_ma(const char *hub, size_t *n_devices) {
    DIR *folder = open_folder("/sys/bus/usb/devices");
    unsigned long sum = 0;
    struct dirent *entry;
    char power[32];

    *n_devices = 0;
    while (next_device(folder, &entry)) {
        if (!hangs_on(entry->d_name, hub))
            continue;
        ++*n_devices;
        sum += strtoul(read_value(power, sizeof(power), USB "%s/bMaxPower", entry->d_name), NULL, 10);
    }
    if (folder)
        closedir(folder);
    return sum;
}

static void check_power(struct doctor *doctor) {
    DIR *folder = open_folder("/sys/bus/usb/devices");
    size_t n_hubs = 0, n_weak = 0, n_devices;
    struct dirent *entry;
    unsigned long sum;
    char value[32];

    while (next_device(folder, &entry)) {
        const char *hub = entry->d_name;

        if (strcmp(read_value(value, sizeof(value), USB "%s/bDeviceClass", hub), "09"))
            continue;
        n_hubs++;
        if (strtoul(read_value(value, sizeof(value), USB "%s/bmAttributes", hub), NULL, 16) & SELF_POWERED)
            continue;
        sum = wanted_ma(hub, &n_devices);
        if (sum <= BUS_POWERED_HUB_MA)
            continue;
        n_weak++;
        doctor_tell(doctor, DOCTOR_WARNING, "usb-power",
                    "Use a hub with a supply of its own, or spread the boards over several.",
                    "the hub at USB %s has no supply of its own, and its %zu devices may want %lu mA of %d",
                    hub, n_devices, sum, BUS_POWERED_HUB_MA);
    }
    if (folder)
        closedir(folder);
    if (!n_weak)
        doctor_tell(doctor, DOCTOR_OK, "usb-power", NULL, "%zu USB hub%s, none asked for more than it has",
                    n_hubs, n_hubs == 1 ? "" : "s");
}

/* ---- clock, proxy ---------------------------------------------------------------------------- */

#define YEAR_2024_S 1704067200

static void check_clock(struct doctor *doctor) {
    time_t now = time(NULL);
    char day[32] = "?";
    struct tm parts;

    if (gmtime_r(&now, &parts))
        strftime(day, sizeof(day), "%Y-%m-%d", &parts);
    if (now < YEAR_2024_S)
        doctor_tell(doctor, DOCTOR_FAILED, "clock",
                    "Set it, for example with: timedatectl set-ntp true. Servers' certificates are refused "
                    "until then.",
                    "the clock is wrong: it says %s", day);
    else
        doctor_tell(doctor, DOCTOR_OK, "clock", NULL, "the clock says %s", day);
}

/* A line "proxy = something" in the file. */
static bool file_has_proxy(const char *folder, const char *name) {
    cleanup(free_p) char *path = NULL;
    bool found = false;
    FILE *file = NULL;
    char line[512];

    if (asprintf(&path, "%s%s%s", root(), folder, name) < 0)
        path = NULL;
    if (path)
        file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof(line), file)) {
        const char *at = line + strspn(line, " \t");

        if (strncmp(at, "proxy", strlen("proxy")))
            continue;
        at += strlen("proxy");
        at += strspn(at, " \t");
        found = *at == '=' && at[1 + strspn(at + 1, " \t\r\n")];
    }
    if (file)
        fclose(file);
    return found;
}

static bool has_proxy(void) {
    bool found = file_has_proxy("/etc/", "wipyd.conf");
    DIR *folder = open_folder("/etc/wipyd.conf.d");
    struct dirent *entry;

    while (folder && !found && (entry = readdir(folder)))
        found = file_has_proxy("/etc/wipyd.conf.d/", entry->d_name);
    if (folder)
        closedir(folder);
    return found;
}

static void check_proxy(struct doctor *doctor) {
    static const char *const names[] = { "https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy",
                                         "ALL_PROXY" };
    const char *here = NULL;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !here; i++) {
        const char *value = getenv(names[i]);

        here = value && *value ? names[i] : NULL;
    }
    if (has_proxy())
        doctor_tell(doctor, DOCTOR_OK, "proxy", NULL, "wipyd asks its sources through a proxy");
    else if (here)
        doctor_tell(doctor, DOCTOR_WARNING, "proxy",
                    "If wipyd needs it too, name it in /etc/wipyd.conf, below [firmware]: proxy = URL",
                    "this shell uses a proxy (%s), and wipyd.conf names none", here);
    else
        doctor_tell(doctor, DOCTOR_OK, "proxy", NULL, "no proxy");
}

void doctor_check_host(struct doctor *doctor) {
    check_power(doctor);
    check_clock(doctor);
    check_proxy(doctor);
}
