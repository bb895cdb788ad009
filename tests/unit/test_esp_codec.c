/* Commands and replies against what the mask ROM and the stub really said: shared/facts/rom-transcripts. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/codec.h"
#include "daemon/esp/slip.h"

/* ---- packets as text ---------------------------------------------------------------------------- */

struct packet {
    uint8_t *bytes; /* of its exact size, so that ASan sees what lies beyond */
    size_t size;
};

/* "01 0a 04", up to the first word that is no byte. */
static struct packet packet_of(const char *hex) {
    struct packet packet = { .bytes = malloc(strlen(hex) / 2 + 1) };
    char *end;

    for (;; hex = end) {
        unsigned long byte = strtoul(hex, &end, 16);

        if (end == hex || byte > 0xff || end - hex > 3)
            break;
        packet.bytes[packet.size++] = (uint8_t)byte;
    }
    packet.bytes = realloc(packet.bytes, packet.size ? packet.size : 1);
    return packet;
}

static enum esp_frame_kind parse(const char *hex, const struct esp_request *request,
                                 const struct esp_loader *loader, struct esp_reply *ret) {
    struct packet packet = packet_of(hex);
    enum esp_frame_kind kind = esp_reply_parse(packet.bytes, packet.size, request, loader, ret);

    if (kind == ESP_FRAME_REPLY) {
        assert_ptr_equal(ret->payload, packet.bytes + 8);
        assert_true(8 + ret->payload_size <= packet.size);
    }
    free(packet.bytes);
    ret->payload = NULL;
    return kind;
}

static void assert_request(const struct esp_request *request, const uint8_t *bytes, size_t size) {
    assert_int_equal(request->head_size + request->body_size, size);
    assert_memory_equal(request->head, bytes, request->head_size);
    if (request->body_size)
        assert_memory_equal(request->body, bytes + request->head_size, request->body_size);
}

static void assert_request_hex(const struct esp_request *request, const char *hex) {
    struct packet packet = packet_of(hex);

    assert_request(request, packet.bytes, packet.size);
    free(packet.bytes);
}

/* The request that our builders make of the values in a transcript's packet. False: a command that wipyd
 * doesn't have; then it is good for parsing the reply only. */
static bool rebuild(const struct packet *packet, const struct esp_loader *loader, struct esp_request *ret) {
    const uint8_t *words = packet->bytes + 8;
    bool deflated = packet->bytes[1] == ESP_DEFL_BEGIN || packet->bytes[1] == ESP_DEFL_DATA;

    switch (packet->bytes[1]) {
    case ESP_SYNC:
        esp_request_sync(ret);
        return true;
    case ESP_READ_REG:
        esp_request_read_reg(ret, get_le32(words));
        return true;
    case ESP_WRITE_REG:
        esp_request_write_reg(ret, get_le32(words), get_le32(words + 4));
        return true;
    case ESP_SPI_ATTACH:
        esp_request_spi_attach(ret, loader, get_le32(words));
        return true;
    case ESP_SPI_SET_PARAMS:
        esp_request_spi_set_params(ret, get_le32(words + 4));
        return packet->size == ret->head_size;
    case ESP_READ_FLASH_SLOW:
        esp_request_read_flash_slow(ret, get_le32(words), get_le32(words + 4));
        return true;
    case ESP_SPI_FLASH_MD5:
        esp_request_md5(ret, loader, get_le32(words), get_le32(words + 4));
        return true;
    case ESP_FLASH_BEGIN:
    case ESP_DEFL_BEGIN:
        esp_request_begin(ret, loader, deflated, get_le32(words + 12), get_le32(words),
                          get_le32(words + 4) * get_le32(words + 8), get_le32(words + 8));
        return true;
    case ESP_FLASH_DATA:
    case ESP_DEFL_DATA:
        esp_request_data(ret, deflated, get_le32(words + 4),
                         &(struct esp_block) { .body = words + 16, .body_size = packet->size - 24 }, 0);
        return true;
    case ESP_DEFL_END:
        esp_request_end(ret, true, 0);
        return true;
    case ESP_ERASE_REGION:
        esp_request_erase_region(ret, get_le32(words), get_le32(words + 4));
        return true;
    default:
        *ret = (struct esp_request) { .head_size = 8 };
        memcpy(ret->head, packet->bytes, 8);
        return false;
    }
}

/* ---- literal copies ----------------------------------------------------------------------------- */

static void requests_have_the_bytes_of_the_transcripts(void **state) {
    static const uint8_t ones[] = { 1, 1, 1, 2 };
    struct esp_request request;

    (void)state;
    esp_request_sync(&request);
    assert_request_hex(&request, "00 08 24 00 00 00 00 00 07 07 12 20 55 55 55 55 55 55 55 55 55 55 55 55 55 "
                                 "55 55 55 55 55 55 55 55 55 55 55 55 55 55 55 55 55 55 55");
    esp_request_read_reg(&request, 0x40001000);
    assert_request_hex(&request, "00 0a 04 00 00 00 00 00 00 10 00 40");
    esp_request_write_reg(&request, 0x3ff4202c, 23);
    assert_request_hex(&request, "00 09 10 00 00 00 00 00 2c 20 f4 3f 17 00 00 00 ff ff ff ff 00 00 00 00");
    esp_request_spi_attach(&request, &esp_loader_rom, 0);
    assert_request_hex(&request, "00 0d 08 00 00 00 00 00 00 00 00 00 00 00 00 00");
    esp_request_spi_attach(&request, &esp_loader_stub, 0);
    assert_request_hex(&request, "00 0d 04 00 00 00 00 00 00 00 00 00");
    esp_request_spi_set_params(&request, 0x400000);
    assert_request_hex(&request, "00 0b 18 00 00 00 00 00 00 00 00 00 00 00 40 00 00 00 01 00 00 10 00 00 00 "
                                 "01 00 00 ff ff 00 00");
    esp_request_read_flash_slow(&request, 0, 64);
    assert_request_hex(&request, "00 0e 08 00 00 00 00 00 00 00 00 00 40 00 00 00");
    esp_request_md5(&request, &esp_loader_rom, 0x300000, 4096);
    assert_request_hex(&request, "00 13 10 00 00 00 00 00 00 00 30 00 00 10 00 00 00 00 00 00 00 00 00 00");
    esp_request_begin(&request, &esp_loader_rom, false, 0x300000, 4096, 4096, 0x400);
    assert_request_hex(&request, "00 02 10 00 00 00 00 00 00 10 00 00 04 00 00 00 00 04 00 00 00 00 30 00");
    esp_request_begin(&request, &esp_loader_rom, true, 0x340000, 20480, 7629, 0x400);
    assert_request_hex(&request, "00 10 10 00 00 00 00 00 00 50 00 00 08 00 00 00 00 04 00 00 00 00 34 00");
    /* facts 6: the ROM gets 0 for the old rate */
    esp_request_change_baud(&request, 921600);
    assert_request_hex(&request, "00 0f 08 00 00 00 00 00 00 10 0e 00 00 00 00 00");
    /* ef ^ 1 ^ 1 ^ 1 ^ 2 */
    esp_request_data(&request, false, 3, &(struct esp_block) { .body = ones, .body_size = sizeof ones },
                     4096);
    assert_request_hex(&request,
                       "00 03 14 00 ec 00 00 00 04 00 00 00 03 00 00 00 00 00 00 00 00 00 00 00 01 01 01 02");
}

static void erase_without_a_write_has_no_blocks(void **state) {
    struct esp_request request;

    (void)state;
    esp_request_begin(&request, &esp_loader_rom, false, 0x8000, 4096, 0, 0x1800);
    assert_request_hex(&request, "00 02 10 00 00 00 00 00 00 10 00 00 00 00 00 00 00 18 00 00 00 80 00 00");
}

static void time_limits_follow_the_work(void **state) {
    struct esp_request request;

    (void)state;
    esp_request_begin(&request, &esp_loader_rom, false, 0, 1000000, 0, 0x400);
    assert_in_range(request.timeout_ms, 40000, 60000);
    esp_request_md5(&request, &esp_loader_rom, 0, 1000000);
    assert_in_range(request.timeout_ms, 8000, 12000);
    esp_request_begin(&request, &esp_loader_rom, false, 0, UINT32_MAX, 0, 0x400); /* no overflow */
    assert_true(request.timeout_ms > 100000000);
    esp_request_read_reg(&request, 0);
    assert_int_equal(request.timeout_ms, 3000);
    esp_request_sync(&request);
    assert_int_equal(request.timeout_ms, 100);
}

static void frame_is_slip_of_head_and_body(void **state) {
    static const uint8_t block[] = { 0xc0, 0xdb, 0x00 };
    static const uint8_t wire[] = { 0xc0, 0x00, 0x11, 0x13, 0x00, 0xf4, 0,    0,    0,    3,   0,
                                    0,    0,    0xdb, 0xdc, 0,    0,    0,    0,    0,    0,   0,
                                    0,    0,    0,    0,    0xdb, 0xdc, 0xdb, 0xdd, 0x00, 0xc0 };
    struct esp_request request;
    uint8_t out[128];

    (void)state;
    esp_request_data(&request, true, 0xc0, &(struct esp_block) { .body = block, .body_size = sizeof block },
                     3);
    assert_true(esp_request_frame_max(&request) >= sizeof wire);
    assert_int_equal(esp_request_frame(&request, out), sizeof wire);
    assert_memory_equal(out, wire, sizeof wire);
}

/* ---- replies ------------------------------------------------------------------------------------ */

static void unknown_command_is_refused_in_the_name_of_an_earlier_one(void **state) {
    struct esp_request request = { .head = { 0, 0x7f }, .head_size = 8 };
    struct esp_reply reply;

    (void)state;
    assert_int_equal(parse("01 13 04 00 c8 40 16 00 01 05 66 31", &request, &esp_loader_rom, &reply),
                     ESP_FRAME_REFUSAL);
    assert_int_equal(reply.error, 5);
    /* Any other status in another command's name is an old reply. */
    assert_int_equal(parse("01 13 04 00 c8 40 16 00 01 07 66 31", &request, &esp_loader_rom, &reply),
                     ESP_FRAME_STALE);
    assert_int_equal(parse("01 13 04 00 c8 40 16 00 00 05 66 31", &request, &esp_loader_rom, &reply),
                     ESP_FRAME_STALE);
    assert_int_equal(parse("01 13 02 00 c8 40 16 00 01 05", &request, &esp_loader_rom, &reply),
                     ESP_FRAME_STALE);
}

/* rom-errors.txt: the error byte of a success, and the two bytes after a status, are leftovers. */
static void leftovers_behind_the_status_say_nothing(void **state) {
    struct esp_request request;
    struct esp_reply reply;

    (void)state;
    esp_request_begin(&request, &esp_loader_rom, false, 0, 4096, 4096, 0x400);
    assert_int_equal(parse("01 02 04 00 c8 40 16 00 00 05 66 31", &request, &esp_loader_rom, &reply),
                     ESP_FRAME_REPLY);
    assert_int_equal(reply.error, 0);
    assert_int_equal(parse("01 02 04 00 c8 40 16 00 01 06 63 34", &request, &esp_loader_rom, &reply),
                     ESP_FRAME_REFUSAL);
    assert_int_equal(reply.error, 6);
}

static void refusal_with_its_payload_and_without(void **state) {
    struct esp_request request;
    struct esp_reply reply;
    char hex[80 * 3] = "01 0e 44 00 00 00 00 00 ";

    (void)state;
    esp_request_read_flash_slow(&request, 0, 64);
    /* Junk where the payload would be, even one that looks like a status, is not the status. */
    for (int i = 0; i < 32; i++)
        strcat(hex, "01 05 ");
    strcat(hex, "01 0a 00 00");
    assert_int_equal(parse(hex, &request, &esp_loader_rom, &reply), ESP_FRAME_REFUSAL);
    assert_int_equal(reply.error, 0x0a);
    assert_int_equal(parse("01 0e 04 00 00 00 00 00 01 09 00 00", &request, &esp_loader_rom, &reply),
                     ESP_FRAME_REFUSAL);
    assert_int_equal(reply.error, 9);
    assert_int_equal(parse("01 0e 02 00 00 00 00 00 01 09", &request, &esp_loader_rom, &reply),
                     ESP_FRAME_REFUSAL);
    assert_int_equal(reply.error, 9);
}

static void damaged_frames_are_alien(void **state) {
    static const char *const frames[] = {
        "",
        "01",
        "01 0a 04 00 83 1d f0 00",                      /* a header and no status */
        "01 0a 04 00 83 1d f0 00 00",                   /* half of one */
        "01 0a 04 00 83 1d f0 00 00 00",                /* its length says more */
        "01 0a 03 00 83 1d f0 00 00 00 00 00",          /* its length says less */
        "00 0a 04 00 83 1d f0 00 00 00 00 00",          /* our own direction */
        "01 0a 02 00 83 1d f0 00 00 00",                /* a good status of the wrong loader */
        "01 0a 05 00 83 1d f0 00 00 00 00 00 00",       /* a byte too many */
        "08 20 08 24 07 07 12 20 55 55 55 55 55 55 55", /* BASIC echoes a SYNC */
    };
    struct esp_request request;
    struct esp_reply reply;

    (void)state;
    esp_request_read_reg(&request, 0x40001000);
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
        assert_int_equal(parse(frames[i], &request, &esp_loader_rom, &reply), ESP_FRAME_ALIEN);
    assert_int_equal(parse("01 0a 04 00 83 1d f0 00 00 00 00 00", &request, &esp_loader_rom, &reply),
                     ESP_FRAME_REPLY);
    assert_int_equal(reply.value, 0x00f01d83);
}

static void md5_in_hex_and_raw(void **state) {
    static const uint8_t md5[16] = { 0x6a, 0xe5, 0x9e, 0x64, 0x85, 0x03, 0x77, 0xee,
                                     0x54, 0x70, 0xc8, 0x54, 0x76, 0x15, 0x51, 0xea };
    const uint8_t *hex = (const uint8_t *)"6ae59e64850377ee5470c854761551ea";
    struct esp_reply reply = { .payload = hex, .payload_size = 32 };
    uint8_t got[16], bad[32];

    (void)state;
    assert_true(esp_reply_md5(&reply, &esp_loader_rom, got));
    assert_memory_equal(got, md5, 16);
    reply = (struct esp_reply) { .payload = md5, .payload_size = 16 };
    assert_true(esp_reply_md5(&reply, &esp_loader_stub, got));
    assert_memory_equal(got, md5, 16);
    /* One damaged digit, at any place, is found. */
    for (int i = 0; i < 32; i++) {
        memcpy(bad, hex, 32);
        bad[i] = i % 2 ? 'g' : 0x81;
        reply = (struct esp_reply) { .payload = bad, .payload_size = 32 };
        assert_false(esp_reply_md5(&reply, &esp_loader_rom, got));
    }
}

static void error_texts_for_every_byte(void **state) {
    (void)state;
    for (int i = 0; i < 256; i++) {
        const char *text = esp_error_text(&esp_loader_rom, (uint8_t)i);

        assert_non_null(text);
        assert_true(*text);
    }
    for (int i = 0; i < 256; i++)
        assert_true(*esp_error_text(&esp_loader_stub, (uint8_t)i));
    assert_string_equal(esp_error_text(&esp_loader_stub_legacy, 0xc8), "too little data");
    assert_string_equal(esp_error_text(&esp_loader_stub, 7), "unknown error");
    assert_true(esp_error_is_of_stream(&esp_loader_stub, 0xc7));
    assert_false(esp_error_is_of_stream(&esp_loader_stub, 0x0b));
    assert_true(esp_error_is_of_stream(&esp_loader_rom, 0x0b));
    assert_string_equal(esp_error_text(&esp_loader_rom, 7), "checksum wrong");
    assert_string_equal(esp_error_text(&esp_loader_rom, 0x69), "out of storage");
    assert_string_equal(esp_error_text(&esp_loader_rom, 0x68), "unknown error");
    assert_string_equal(esp_error_text(&esp_loader_rom, 0xff), "unknown error");
}

static uint32_t next_random(uint32_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void random_frames_stay_in_bounds(void **state) {
    static const uint8_t opcodes[] = { ESP_SYNC, ESP_READ_REG, ESP_READ_FLASH_SLOW, ESP_SPI_FLASH_MD5 };
    static const size_t payloads[] = { 0, 0, 64, 32 };
    uint32_t seed = 4711;

    (void)state;
    for (int round = 0; round < 200000; round++) {
        size_t size = next_random(&seed) % 100, which = next_random(&seed) % 4;
        struct esp_request request = { .head = { 0, opcodes[which] }, .payload_size = payloads[which] };
        const struct esp_loader *loader = next_random(&seed) % 2 ? &esp_loader_stub : &esp_loader_rom;
        uint8_t *frame = malloc(size + !size);
        struct esp_reply reply = { 0 };

        for (size_t i = 0; i < size; i++)
            frame[i] = (uint8_t)next_random(&seed);
        if (size >= 12 && next_random(&seed) % 4) { /* most have a header that fits */
            frame[0] = 1;
            frame[1] = opcodes[next_random(&seed) % 4];
            put_le16(frame + 2, (uint32_t)size - 8);
        }
        if (esp_reply_parse(frame, size, &request, loader, &reply) == ESP_FRAME_REPLY) {
            assert_int_equal(reply.payload_size, request.payload_size);
            assert_ptr_equal(reply.payload, frame + 8);
            assert_int_equal(size, 8 + reply.payload_size + loader->status_bytes);
        }
        free(frame);
    }
}

/* ---- the transcripts themselves ----------------------------------------------------------------- */

struct transcript {
    const char *name;
    const struct esp_loader *loader;
    unsigned n_built;                    /* commands that wipyd has, too */
    unsigned n_replies, n_aliens, n_md5; /* packets from the chip; MD5s of which the comment says the sum */
    unsigned n_refusals;
    uint8_t refusals[16]; /* their errors, in order */
};

static const struct transcript transcripts[] = {
    { .name = "rom-connect.txt", .loader = &esp_loader_rom, .n_built = 25, .n_replies = 32 },
    { .name = "rom-write-plain.txt", .loader = &esp_loader_rom, .n_built = 6, .n_replies = 6, .n_md5 = 1 },
    { .name = "rom-write-deflate.txt",
      .loader = &esp_loader_rom,
      .n_built = 14,
      .n_replies = 14,
      .n_md5 = 2 },
    { .name = "rom-errors.txt",
      .loader = &esp_loader_rom,
      .n_built = 22, /* all but a SPI_SET_PARAMS with four words */
      .n_replies = 21,
      .n_aliens = 1,
      .n_refusals = 14,
      .refusals = { 5, 5, 5, 5, 7, 5, 5, 6, 6, 5, 0x0b, 5, 0x0a, 7 } },
    { .name = "stub.txt",
      .loader = &esp_loader_stub,
      .n_built = 30,
      .n_replies = 42,
      .n_aliens = 3,
      .n_md5 = 1,
      .n_refusals = 4,
      .refusals = { 0xc1, 0x00, 0xff, 0xc8 } },
};

static FILE *open_transcript(const char *name) {
    const char *shared = getenv("WIPYD_SHARED");
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/facts/rom-transcripts/%s", shared ? shared : "../shared", name);
    file = fopen(path, "r");
    if (!file)
        print_message("SKIP: no %s; WIPYD_SHARED says where the facts are\n", path);
    return file;
}

/* "..., expect 6ef11f84e0ea4ac431aaa21136938aa0": false when the comment says no sum. */
static bool expected_md5(const char *comment, char ret[static 33]) {
    const char *at = strstr(comment, "expect ");

    return at && sscanf(at, "expect %32[0-9a-f]", ret) == 1 && strlen(ret) == 32;
}

/* A checksum that was sent wrong on purpose is the one byte that differs. */
static void assert_rebuilt(const struct esp_request *request, const struct packet *packet,
                           const char *comment) {
    if (request->head[4] != packet->bytes[4]) {
        assert_non_null(strstr(comment, "bad checksum"));
        packet->bytes[4] = request->head[4];
    }
    assert_request(request, packet->bytes, packet->size);
}

static void assert_reply(const struct esp_reply *reply, const struct packet *request, const char *comment,
                         const struct esp_loader *loader, unsigned *n_md5) {
    uint8_t md5[16];
    char hex[33], wanted[33];

    if (reply->opcode == ESP_SYNC)
        assert_int_equal(reply->value, loader == &esp_loader_stub ? ESP_SYNC_STUB : ESP_SYNC_ROM);
    if (reply->opcode == ESP_READ_REG && get_le32(request->bytes + 8) == 0x40001000)
        assert_int_equal(reply->value, 0x00f01d83);
    if (reply->opcode != ESP_SPI_FLASH_MD5)
        return;
    assert_true(esp_reply_md5(reply, loader, md5));
    if (!expected_md5(comment, wanted))
        return;
    hex_encode(md5, 16, hex);
    assert_string_equal(hex, wanted);
    ++*n_md5;
}

static void transcript_is_understood(void **state) {
    const struct transcript *wanted = *state;
    FILE *file = open_transcript(wanted->name);
    unsigned n_built = 0, n_replies = 0, n_refusals = 0, n_aliens = 0, n_md5 = 0;
    struct packet sent = { 0 }, last = { 0 };
    struct esp_request request = { 0 };
    char *line = NULL, comment[512] = "";
    size_t allocated = 0;

    if (!file)
        skip();
    while (getline(&line, &allocated, file) > 0) {
        struct packet packet = packet_of(line + 1);
        struct esp_reply reply = { 0 };

        switch (*line) {
        case '#':
            snprintf(comment, sizeof comment, "%s", line);
            free(packet.bytes);
            break;
        case '>':
            free(sent.bytes);
            sent = packet;
            if (packet.size < 8) /* READ_FLASH's acknowledgements, which wipyd doesn't have */
                break;
            if (rebuild(&packet, wanted->loader, &request)) {
                assert_rebuilt(&request, &packet, comment);
                n_built++;
            }
            /* What came for the command before is no answer to this one. */
            if (last.size && last.bytes[1] != request.head[1] && last.bytes[8] == 0)
                assert_int_equal(esp_reply_parse(last.bytes, last.size, &request, wanted->loader, &reply),
                                 ESP_FRAME_STALE);
            break;
        case '<':
            switch (esp_reply_parse(packet.bytes, packet.size, &request, wanted->loader, &reply)) {
            case ESP_FRAME_REPLY:
                assert_reply(&reply, &sent, comment, wanted->loader, &n_md5);
                n_replies++;
                break;
            case ESP_FRAME_REFUSAL:
                assert_true(n_refusals < wanted->n_refusals);
                assert_int_equal(reply.error, wanted->refusals[n_refusals++]);
                break;
            case ESP_FRAME_ALIEN:
                n_aliens++;
                packet.size = 0;
                break;
            case ESP_FRAME_STALE:
                fail_msg("%s: %.60s is stale", wanted->name, line);
            }
            free(last.bytes);
            last = packet;
            break;
        default:
            free(packet.bytes);
        }
    }
    free(line);
    free(sent.bytes);
    free(last.bytes);
    fclose(file);
    assert_int_equal(n_built, wanted->n_built);
    assert_int_equal(n_replies, wanted->n_replies);
    assert_int_equal(n_refusals, wanted->n_refusals);
    assert_int_equal(n_aliens, wanted->n_aliens);
    assert_int_equal(n_md5, wanted->n_md5);
}

int main(void) {
#define TRANSCRIPT(i)                                                                                        \
    { "transcript_" #i, transcript_is_understood, NULL, NULL, (void *)&transcripts[i] }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_have_the_bytes_of_the_transcripts),
        cmocka_unit_test(erase_without_a_write_has_no_blocks),
        cmocka_unit_test(time_limits_follow_the_work),
        cmocka_unit_test(frame_is_slip_of_head_and_body),
        cmocka_unit_test(unknown_command_is_refused_in_the_name_of_an_earlier_one),
        cmocka_unit_test(leftovers_behind_the_status_say_nothing),
        cmocka_unit_test(refusal_with_its_payload_and_without),
        cmocka_unit_test(damaged_frames_are_alien),
        cmocka_unit_test(md5_in_hex_and_raw),
        cmocka_unit_test(error_texts_for_every_byte),
        cmocka_unit_test(random_frames_stay_in_bounds),
        TRANSCRIPT(0),
        TRANSCRIPT(1),
        TRANSCRIPT(2),
        TRANSCRIPT(3),
        TRANSCRIPT(4),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
