/*
 * A host's USB ports, for programs that run under libumockdev-preload with UMOCKDEV_DIR as printed.
 *
 *   usbtool            prints "root FOLDER", then obeys lines on stdin until they end:
 *     add name=ttyUSB0 slot=1-2 vid=0403 pid=6015 [serial=S] [node=PATH] [interface=0] [port=0]
 *         [id_path=P] [acm=1] [unknown=1] [KEY=VALUE]
 *     remove name=ttyUSB0 slot=1-2 [interface=0] [acm=1]
 *     event name=ttyUSB0 slot=1-2 action=change [interface=0] [acm=1]
 *
 * node: what /dev/ttyUSB0 leads to. An upper-case KEY is one more udev property.
 * Each line is answered by "ok" or "error WHAT". The folder is removed at the end.
 */

#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include "tests/integration/usb_bed.h"

#define ROOM_TRIES 10000 /* of a millisecond */

struct line {
    struct bed_adapter adapter;
    const char *action;
};

static void wait_a_little(void *userdata) {
    const struct timespec millisecond = { .tv_nsec = 1000000 };
    unsigned *n_tries = userdata;

    if (++*n_tries > ROOM_TRIES) {
        fprintf(stderr, "usbtool: nobody reads the events\n");
        exit(1);
    }
    nanosleep(&millisecond, NULL);
}

static unsigned number(const char *text) {
    return (unsigned)strtoul(text, NULL, 10);
}

/* False: an unknown key. */
static bool set(struct line *line, const char *key, const char *value, const char *whole) {
    const struct {
        const char *key, **field;
    } texts[] = {
        { "name", &line->adapter.name },       { "slot", &line->adapter.slot },
        { "vid", &line->adapter.vendor },      { "pid", &line->adapter.product },
        { "serial", &line->adapter.serial },   { "node", &line->adapter.node },
        { "id_path", &line->adapter.id_path }, { "action", &line->action },
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(key, texts[i].key)) {
            *texts[i].field = value;
            return true;
        }
    if (!strcmp(key, "interface"))
        line->adapter.interface = number(value);
    else if (!strcmp(key, "port"))
        line->adapter.port = number(value);
    else if (!strcmp(key, "acm"))
        line->adapter.is_acm = number(value);
    else if (!strcmp(key, "unknown"))
        line->adapter.unknown_yet = number(value);
    else if (isupper((unsigned char)*key))
        line->adapter.other = whole;
    else
        return false;
    return true;
}

static bool send_event(struct bed *bed, const struct line *line) {
    struct bed_paths paths;

    bed_paths(bed, &line->adapter, &paths);
    if (!bed_exists(paths.tty))
        return false;
    bed_event(bed, paths.tty, line->action);
    return true;
}

/* NULL, or what is wrong. */
static const char *obey(struct bed *bed, char *text) {
    struct line line = { .adapter = { .name = NULL } };
    char whole[PATH_MAX], *save = NULL, *verb = strtok_r(text, " \n", &save), *word, *value;

    while ((word = strtok_r(NULL, " \n", &save))) {
        snprintf(whole, sizeof whole, "%s", word);
        value = strchr(word, '=');
        if (!value)
            return "KEY=VALUE expected";
        *value++ = 0;
        if (!set(&line, word, value, whole))
            return "unknown key";
    }
    if (!verb || !line.adapter.name || !line.adapter.slot)
        return "VERB name=... slot=... expected";
    if (!strcmp(verb, "add")) {
        if (!line.adapter.vendor || !line.adapter.product)
            return "vid=... pid=... expected";
        return bed_add(bed, &line.adapter) ? NULL : "it is there already";
    }
    if (!strcmp(verb, "remove"))
        return bed_remove(bed, &line.adapter) ? NULL : "it isn't there";
    if (!strcmp(verb, "event"))
        return line.action && send_event(bed, &line) ? NULL : "it isn't there, or no action";
    return "add, remove or event expected";
}

int main(int argc, char **argv) {
    unsigned n_tries = 0;
    char text[PATH_MAX + 512];
    struct bed bed;

    (void)argc;
    if (!bed_preload(argv)) {
        fprintf(stderr, "usbtool: %s can't be loaded\n", BED_PRELOAD);
        return 2;
    }
    bed_new(&bed, wait_a_little, &n_tries);
    printf("root %s\n", bed.root);
    fflush(stdout);
    while (fgets(text, sizeof text, stdin)) {
        const char *wrong;

        n_tries = 0;
        wrong = obey(&bed, text);
        printf(wrong ? "error %s\n" : "ok\n", wrong);
        fflush(stdout);
    }
    bed_free(&bed);
    return 0;
}
