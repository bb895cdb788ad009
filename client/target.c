#include "client/target.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/failure.h"
#include "client/part.h"

/* ---- boards ---------------------------------------------------------------------------------- */

static enum exit_code board_on_device(const struct client *client, const char *word,
                                      const struct device *device, struct board *board) {
    cleanup(free_p) char *story = NULL;
    enum exit_code code;
    bool found = false;

    if (*device->mac) {
        code = board_seek(client, device->mac, board, &found);
        if (code != EXIT_DONE || found)
            return code;
    }
    if (asprintf(&story, "no board has answered on %s yet; ask with: wipyctl info %s", device->name, word) <
        0)
        story = NULL;
    return failure_known(client, WIPYD_ERROR_NO_SUCH_BOARD, story);
}

enum exit_code target_board(const struct client *client, const char *word, struct board *board) {
    cleanup(device_clear_p) struct device device = { 0 };
    cleanup(free_p) char *story = NULL, *whole = NULL;
    bool found = false;
    enum exit_code code = board_seek(client, word, board, &found);

    if (code != EXIT_DONE || found)
        return code;
    code = device_seek(client, word, &device, &found);
    if (code != EXIT_DONE)
        return code;
    if (found)
        return board_on_device(client, word, &device, board);
    code = part_find(client, word, PART_BOARD, &whole);
    if (code == EXIT_DONE && !whole)
        code = part_find(client, word, PART_DEVICE, &whole);
    if (code != EXIT_DONE)
        return code;
    if (whole)
        return target_board(client, whole, board);
    if (asprintf(&story, "'%s' is neither a MAC nor a board's label nor a device", word) < 0)
        story = NULL;
    return failure_known(client, WIPYD_ERROR_NO_SUCH_BOARD, story);
}

bool target_mac(const char *word, char mac[TARGET_MAC_SIZE]) {
    size_t n_digits = 0, n = 0;

    for (; *word; word++) {
        if ((*word == ':' || *word == '-') && n_digits && n_digits % 2 == 0 &&
            isxdigit((unsigned char)word[1]))
            continue;
        if (!isxdigit((unsigned char)*word) || n_digits == 12)
            return false;
        if (n_digits && n_digits % 2 == 0)
            mac[n++] = ':';
        mac[n++] = (char)tolower((unsigned char)*word);
        n_digits++;
    }
    mac[n] = '\0';
    return n_digits == 12;
}

enum exit_code target_mac_of(const struct client *client, const char *word, char mac[TARGET_MAC_SIZE]) {
    cleanup(board_clear_p) struct board board = { 0 };
    enum exit_code code;

    if (target_mac(word, mac))
        return EXIT_DONE;
    code = target_board(client, word, &board);
    if (code == EXIT_DONE)
        snprintf(mac, TARGET_MAC_SIZE, "%s", board.mac);
    return code;
}

/* ---- slots ----------------------------------------------------------------------------------- */

/* By what the daemon knows as a slot's, else by a device: a port's node, or the MAC or label of the board
 * there. */
static enum exit_code seek_whole_slot(const struct client *client, const char *word, struct slot *slot,
                                      bool *found) {
    cleanup(device_clear_p) struct device device = { 0 };
    enum exit_code code = slot_seek(client, word, slot, found);

    if (code == EXIT_DONE && !*found)
        code = device_seek(client, word, &device, found);
    else
        return code;
    if (code == EXIT_DONE && *found)
        code = slot_seek(client, device.slot, slot, found);
    return code;
}

/* And by a part of what either is called. */
enum exit_code target_seek_slot(const struct client *client, const char *word, struct slot *slot,
                                bool *found) {
    cleanup(free_p) char *whole = NULL;
    enum exit_code code = seek_whole_slot(client, word, slot, found);

    if (code != EXIT_DONE || *found)
        return code;
    code = part_find(client, word, PART_SLOT, &whole);
    if (code == EXIT_DONE && !whole)
        code = part_find(client, word, PART_DEVICE, &whole);
    return code == EXIT_DONE && whole ? seek_whole_slot(client, whole, slot, found) : code;
}

enum exit_code target_slot(const struct client *client, const char *word, struct slot *slot) {
    cleanup(free_p) char *story = NULL;
    bool found = false;
    enum exit_code code = target_seek_slot(client, word, slot, &found);

    if (code != EXIT_DONE || found)
        return code;
    if (asprintf(&story, "'%s' is neither a slot nor its label nor a device", word) < 0)
        story = NULL;
    return failure_known(client, WIPYD_ERROR_NO_SUCH_SLOT, story);
}

/* ---- either ---------------------------------------------------------------------------------- */

static enum exit_code find_whole(const struct client *client, const char *word, struct target *target,
                                 bool *is_board, bool *is_slot) {
    enum exit_code code = board_seek(client, word, &target->board, is_board);

    if (code == EXIT_DONE)
        code = *is_board ? slot_seek(client, word, &target->slot, is_slot)
                         : seek_whole_slot(client, word, &target->slot, is_slot);
    return code;
}

static enum exit_code find_either(const struct client *client, const char *word, struct target *target) {
    cleanup(free_p) char *story = NULL, *whole = NULL;
    bool is_board = false, is_slot = false;
    enum exit_code code = find_whole(client, word, target, &is_board, &is_slot);

    if (code == EXIT_DONE && !is_board && !is_slot)
        code = part_find(client, word, PART_BOARD | PART_SLOT, &whole);
    if (code == EXIT_DONE && whole)
        code = find_whole(client, whole, target, &is_board, &is_slot);
    if (code != EXIT_DONE)
        return code;
    if (is_board && is_slot)
        return failure_usage(client, "'%s' means a board and a slot: say --board or --slot.", word);
    target->interface = is_board ? &board_interface : &slot_interface;
    if (is_board || is_slot)
        return EXIT_DONE;
    if (asprintf(&story, "'%s' is neither a device nor a slot nor a board's MAC nor a label", word) < 0)
        story = NULL;
    return failure_known(client, WIPYD_ERROR_NO_SUCH_DEVICE, story);
}

enum exit_code target_find(const struct client *client, const char *word, struct target *target) {
    if (client->options.of_board && client->options.of_slot)
        return failure_usage(client, "--board and --slot don't go together.");
    if (client->options.of_board) {
        target->interface = &board_interface;
        return target_board(client, word, &target->board);
    }
    if (client->options.of_slot) {
        target->interface = &slot_interface;
        return target_slot(client, word, &target->slot);
    }
    return find_either(client, word, target);
}

void *target_object(struct target *target) {
    return target->interface == &board_interface ? (void *)&target->board : &target->slot;
}

enum exit_code target_set(const struct client *client, struct target *target, const char *method,
                          const char *text) {
    void *object = target_object(target);
    const char *path = *(char *const *)object;
    enum exit_code code = bus_tell(client, path, target->interface->name, method, "s", text);

    return code == EXIT_DONE ? object_load(client, target->interface, path, object) : code;
}

void target_clear_p(struct target *target) {
    properties_clear(&board_interface, &target->board);
    properties_clear(&slot_interface, &target->slot);
}

static char *title(const char *what, const char *name, const char *label, char *buffer, size_t n) {
    snprintf(buffer, n, "%s %s%s%s%s", what, name, *label ? " (" : "", label, *label ? ")" : "");
    return buffer;
}

char *board_title(const struct board *board, char *buffer, size_t n) {
    return title("board", board->mac, board->label, buffer, n);
}

char *slot_title(const struct slot *slot, char *buffer, size_t n) {
    return title("slot", slot->name, slot->label, buffer, n);
}

char *target_title(const struct target *target, char *buffer, size_t n) {
    return target->interface == &board_interface ? board_title(&target->board, buffer, n)
                                                 : slot_title(&target->slot, buffer, n);
}
