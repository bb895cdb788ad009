#include "client/part.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "client/failure.h"
#include "client/objects.h"

/* ---- text ------------------------------------------------------------------------------------ */

static bool splits_number(char before, char after) {
    return isdigit((unsigned char)before) && isdigit((unsigned char)after);
}

static bool is_part(const char *word, const char *name) {
    size_t length = strlen(word), n = strlen(name);

    for (size_t i = 0; i + length <= n; i++)
        if (!strncasecmp(name + i, word, length) && !(i && splits_number(name[i - 1], word[0])) &&
            !splits_number(word[length - 1], name[i + length]))
            return true;
    return false;
}

/* Digits with or without colons (or hyphens), at least two, and whole pairs of the MAC's from their start. */
static bool is_part_of_mac(const char *word, const char *mac) {
    char digits[13], pairs[13];
    size_t n = 0, m = 0;

    for (; *word; word++) {
        if (*word == ':' || *word == '-')
            continue;
        if (!isxdigit((unsigned char)*word) || n == sizeof(digits) - 1)
            return false;
        digits[n++] = *word;
    }
    digits[n] = '\0';
    for (; *mac && m < sizeof(pairs) - 1; mac++)
        if (*mac != ':')
            pairs[m++] = *mac;
    pairs[m] = '\0';
    for (size_t i = 0; n >= 2 && i + n <= m; i += 2)
        if (!strncasecmp(pairs + i, digits, n))
            return true;
    return false;
}

/* ---- things ---------------------------------------------------------------------------------- */

struct search {
    const char *word;
    const char *found; /* the first; borrowed from the objects */
    size_t n;
    char *list; /* all of them, for people */
};

static bool any_has_part(const struct search *search, const char *mac, const char *const names[]) {
    if (is_part_of_mac(search->word, mac))
        return true;
    for (; *names; names++)
        if (is_part(search->word, *names))
            return true;
    return false;
}

static void add(struct search *search, const char *name, const char *label) {
    char *longer;

    if (!search->n++)
        search->found = name;
    if (asprintf(&longer, "%s%s%s%s%s%s", search->list ? search->list : "", search->list ? ", " : "", name,
                 *label ? " (" : "", label, *label ? ")" : "") < 0)
        return;
    free(search->list);
    search->list = longer;
}

static const char *label_of_slot(const struct objects *objects, const char *name) {
    const struct slot *slots = objects->slots.items;

    for (size_t i = 0; i < objects->slots.n; i++)
        if (!strcmp(slots[i].name, name))
            return slots[i].label;
    return "";
}

static const char *label_of_board(const struct objects *objects, const char *mac) {
    const struct board *board = *mac ? objects_board(objects, mac) : NULL;

    return board ? board->label : "";
}

static void search_devices(struct search *search, const struct objects *objects) {
    const struct device *devices = objects->devices.items;

    for (size_t i = 0; i < objects->devices.n; i++)
        if (any_has_part(search, devices[i].mac,
                         (const char *[]) { devices[i].name, devices[i].slot, devices[i].label,
                                            label_of_slot(objects, devices[i].slot),
                                            label_of_board(objects, devices[i].mac), NULL }))
            add(search, devices[i].name, devices[i].label);
}

static void search_boards(struct search *search, const struct objects *objects) {
    const struct board *boards = objects->boards.items;

    for (size_t i = 0; i < objects->boards.n; i++)
        if (any_has_part(search, boards[i].mac, (const char *[]) { boards[i].label, NULL }))
            add(search, boards[i].mac, boards[i].label);
}

static void search_slots(struct search *search, const struct objects *objects) {
    const struct slot *slots = objects->slots.items;

    for (size_t i = 0; i < objects->slots.n; i++) {
        const struct device *device = objects_device(objects, slots[i].device);

        if (any_has_part(
                search, "",
                (const char *[]) { slots[i].name, slots[i].label, device ? device->name : "", NULL }))
            add(search, slots[i].name, slots[i].label);
    }
}

static enum exit_code ambiguous(const struct client *client, const struct search *search) {
    cleanup(free_p) char *message = NULL, *story = NULL;

    if (asprintf(&message, "'%s' is a part of %zu names.", search->word, search->n) < 0)
        message = NULL;
    if (asprintf(&story, "it may be: %s", search->list ? search->list : "") < 0)
        story = NULL;
    return failure_report(client, &(struct failure) {
                                      .exit_code = EXIT_USAGE,
                                      .name = wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                                      .message = message ? message : "The name is ambiguous.",
                                      .story = story,
                                      .hint = "Say more of the one that is meant.",
                                  });
}

enum exit_code part_find(const struct client *client, const char *word, unsigned kinds, char **whole) {
    struct objects objects = { 0 };
    struct search search = { .word = word };
    enum exit_code code;

    *whole = NULL;
    if (!*word)
        return EXIT_DONE;
    code = objects_load(client, &objects);
    if (code == EXIT_DONE && kinds & PART_DEVICE)
        search_devices(&search, &objects);
    if (code == EXIT_DONE && kinds & PART_BOARD)
        search_boards(&search, &objects);
    if (code == EXIT_DONE && kinds & PART_SLOT)
        search_slots(&search, &objects);
    if (search.n > 1) {
        code = ambiguous(client, &search);
    } else if (search.n) {
        *whole = strdup(search.found);
        if (!*whole)
            code = failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    }
    free(search.list);
    objects_clear(&objects);
    return code;
}
