#pragma once

/* What a word on the command line means: a board or a slot. */

#include "client/object.h"

struct target {
    const struct interface *interface; /* board_interface or slot_interface: which of the two is filled */
    struct board board;
    struct slot slot;
};

/*
 * A MAC or a board's label means the board; a slot's name or label, or a device (its name or node), the slot.
 * With options.of_board a device means the board on it, with options.of_slot a MAC or a board's label the
 * slot that the board is in. A part of such a word does where no other has it. A label that a board and a
 * slot have needs one of them. *target is zeroed before; the caller clears.
 */
must_check enum exit_code target_find(const struct client *client, const char *word, struct target *target);
/* The board or the slot alone, by any of these words; zeroed before. */
must_check enum exit_code target_board(const struct client *client, const char *word, struct board *board);
must_check enum exit_code target_slot(const struct client *client, const char *word, struct slot *slot);
/* Calls one of the methods that both have, with a text, and loads what came of it. */
must_check enum exit_code target_set(const struct client *client, struct target *target, const char *method,
                                     const char *text);
void *target_object(struct target *target);
/* The slot, where there may be none: then it leaves *found false and says nothing. */
must_check enum exit_code target_seek_slot(const struct client *client, const char *word, struct slot *slot,
                                           bool *found);
void target_clear_p(struct target *target);

/* "30:ae:a4:01:02:03", from a word with colons, hyphens or nothing between the digits; false: no MAC. */
#define TARGET_MAC_SIZE 18
bool target_mac(const char *word, char mac[TARGET_MAC_SIZE]);
/* The MAC that a word means, which may be that of a board that wipyd has forgotten; what isn't a MAC is the
 * word of a board, as in target_board(). */
must_check enum exit_code target_mac_of(const struct client *client, const char *word,
                                        char mac[TARGET_MAC_SIZE]);

/* "board 30:ae:a4:01:02:03 (desk)": what sentences call it; at most n bytes. */
char *board_title(const struct board *board, char *buffer, size_t n);
char *slot_title(const struct slot *slot, char *buffer, size_t n);
char *target_title(const struct target *target, char *buffer, size_t n);
