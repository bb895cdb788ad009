#pragma once

/*
 * The wire to one chip: the only place with I/O and time. One command in flight; each request completes
 * exactly once, never from inside the call that asked.
 *
 * Happy path: esp_link_open, esp_link_sync, esp_link_request ..., esp_link_close.
 * Failure modes: see enum esp_outcome. After any timeout the link drains what comes late and syncs again
 * before it completes the request, because replies carry no sequence number.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/base/clean.h"
#include "daemon/esp/boot_log.h"
#include "daemon/esp/codec.h"
#include "daemon/esp/reset.h"

struct esp_link;

enum esp_outcome {
    ESP_OK,
    ESP_REFUSED,  /* the chip said no: reply->error; it goes on listening */
    ESP_NO_REPLY, /* in time; drained and synced again: the chip listens, what it did is unknown */
    ESP_LOST,     /* in time, and it doesn't answer a SYNC either */
    ESP_REBOOTED, /* it printed a boot log: esp_link_boot_log says into what */
    ESP_GONE,     /* the port went away; only esp_link_close may follow */
};

/* reply: borrowed, NULL unless ESP_OK or ESP_REFUSED to a command. */
typedef void (*esp_link_fn)(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply);

/* Opens the port (see serial_port_open for its errors). on_gone is called once if the port goes away while
 * nothing is in flight; what is asked after that completes with ESP_GONE. */
must_check int esp_link_open(struct esp_link **ret, uv_loop_t *loop, const char *path,
                             void (*on_gone)(void *userdata), void *userdata);

/* One command; request is copied, its body and sink borrowed until completion. Only when idle. */
void esp_link_request(struct esp_link *link, const struct esp_request *request, esp_link_fn fn);
/* Frames what will be asked next, while a command is under way; its body is borrowed until that one is
 * completed. Asking for something else then is fine. */
void esp_link_prepare(struct esp_link *link, const struct esp_request *request);
/* Runs what was loaded into RAM (MEM_END), and waits for its hello: ESP_OK, and loader is whom the link talks
 * to from then on. ESP_NO_REPLY: none came, and the ROM listens still. */
void esp_link_run_stub(struct esp_link *link, uint32_t entry, const struct esp_loader *loader,
                       esp_link_fn fn);

/*
 * Listens for up to listen_ms (less when the boot log says that the ROM waits), then sends up to `attempts`
 * SYNCs, and completes with the clean reply (its value says ROM or stub), or ESP_LOST. Every second SYNC has
 * one delimiter more, for a stub that was left in the middle of a frame.
 */
void esp_link_sync(struct esp_link *link, unsigned attempts, uint32_t listen_ms, esp_link_fn fn);

/* Drives DTR and RTS, having thrown away what had come in, then listens for the boot log. ESP_OK, or
 * ESP_GONE. Only on a port with lines. */
void esp_link_reset(struct esp_link *link, const struct esp_reset_sequence *sequence, esp_link_fn fn);
/* Only listens; ESP_OK after ms, or ESP_GONE. */
void esp_link_listen(struct esp_link *link, uint32_t ms, esp_link_fn fn);

/* For a look at who is there. As esp_link_listen, but the first bytes that come end it too. */
void esp_link_hear(struct esp_link *link, uint32_t ms, esp_link_fn fn);
/* As esp_link_hear, for an answer to a SYNC sent before that may come late: ESP_OK with the clean reply, else
 * ESP_LOST. */
void esp_link_hear_sync(struct esp_link *link, uint32_t ms, esp_link_fn fn);
/* Sends bytes (copied) as they are, then is as esp_link_hear. Only to a firmware that may be spoken to. */
void esp_link_say(struct esp_link *link, const void *bytes, size_t size, uint32_t ms, esp_link_fn fn);
/* Whom to tell, besides the boot log and after it, of what comes outside of frames: with esp_link_open's
 * userdata, from the loop or inside a call, in pieces of any size. The link may not be called from there. */
void esp_link_on_text(struct esp_link *link,
                      void (*on_text)(void *userdata, const uint8_t *bytes, size_t size));
/* Ends what is under way, which never completes: idle then, whatever the chip still says to it. DTR and RTS
 * are dropped where a reset was under way. */
void esp_link_stop(struct esp_link *link);

/* Sets the host's rate, waits until the line is calm, and completes: ESP_OK, or ESP_GONE.
 * Negative errno when the adapter can't: nothing was begun then. */
must_check int esp_link_set_baud(struct esp_link *link, uint32_t baud, esp_link_fn fn);
/* Whether the adapter can do that rate; found by trying, then going back. Only when idle. */
bool esp_link_can_baud(struct esp_link *link, uint32_t baud);
/* The rate asked for; a real adapter is a little off. */
uint32_t esp_link_baud(const struct esp_link *link);

bool esp_link_has_lines(const struct esp_link *link);
/* Who answers: the ROM, until a stub is run, or a SYNC is answered by one; a reset brings the ROM back. */
const struct esp_loader *esp_link_loader(const struct esp_link *link);
/* Of all text since the link opened or esp_link_forget_log. */
const struct boot_log *esp_link_boot_log(const struct esp_link *link);
void esp_link_forget_log(struct esp_link *link);
/* Wire bytes since open. */
void esp_link_count(const struct esp_link *link, uint64_t *sent, uint64_t *received);

/* Stops at once, as esp_link_stop; what was in flight never completes. on_closed comes from the loop; the
 * object is gone then.
 */
void esp_link_close(struct esp_link *link, void (*on_closed)(void *userdata), void *userdata);
