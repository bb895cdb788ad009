/* Reading a range of flash in few round trips, against a flash in memory and a wire that damages replies. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/md5.h"
#include "daemon/flash/reader.h"

#define OFFSET       0x9000u
#define SECTOR       4096u
#define PART         1024u
#define SIZE         (4 * SECTOR)
#define REQUESTS_MAX 2000
#define NEVER        UINT32_MAX

static const struct esp_loader raw_loader = { .name = "stub", .status_bytes = 2, .md5_is_raw = true };

enum damage { SOUND, ANOTHER_DIGEST, NO_DIGEST };

struct bench {
    const struct esp_loader *loader;
    uint8_t *flash, *known, *out; /* each of SIZE bytes, for the range at OFFSET */
    unsigned n_md5s, n_reads, n_bytes;
    uint32_t bad_byte; /* where in the range a read comes back with a wrong bit ... */
    unsigned n_bad;    /* ... for so many times */
    enum damage digest_damage;
    uint32_t bad_digest_size; /* of digests over so many bytes ... */
    unsigned n_bad_digests;   /* ... for so many times for each sector */
    unsigned n_bad_left;
    uint32_t bad_digest_at;
    uint8_t payload[64];
};

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    bench->loader = &esp_loader_rom;
    bench->flash = malloc(SIZE);
    bench->known = malloc(SIZE);
    bench->out = malloc(SIZE);
    bench->bad_byte = bench->bad_digest_at = NEVER;
    memset(bench->flash, 0xff, SIZE);
    memset(bench->out, 0x55, SIZE);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    free(bench->flash);
    free(bench->known);
    free(bench->out);
    free(bench);
    return 0;
}

static void scribble(uint8_t *bytes, size_t size, uint32_t seed) {
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(seed >> 24);
    }
}

/* ---- the chip ----------------------------------------------------------------------------------- */

static bool damages_digest(struct bench *bench, uint32_t at, uint32_t size) {
    if (bench->digest_damage == SOUND || size != bench->bad_digest_size)
        return false;
    if (bench->bad_digest_at != at) {
        bench->bad_digest_at = at;
        bench->n_bad_left = bench->n_bad_digests;
    }
    return bench->n_bad_left && bench->n_bad_left--;
}

static void answer_md5(struct bench *bench, uint32_t at, uint32_t size) {
    char hex[33];

    bench->n_md5s++;
    esp_md5(bench->flash + at, size, bench->payload);
    if (!bench->loader->md5_is_raw) {
        hex_encode(bench->payload, 16, hex);
        memcpy(bench->payload, hex, 32);
    }
    if (damages_digest(bench, at, size)) {
        if (bench->digest_damage == NO_DIGEST)
            bench->payload[7] = 0x9c;
        else
            bench->payload[7] = bench->payload[7] == '0' ? '1' : '0';
    }
}

static void answer_read(struct bench *bench, uint8_t *to, uint32_t at, uint32_t size) {
    bench->n_reads++;
    bench->n_bytes += size;
    memcpy(to, bench->flash + at, size);
    if (bench->n_bad && bench->bad_byte >= at && bench->bad_byte < at + size) {
        to[bench->bad_byte - at] ^= 0x10;
        bench->n_bad--;
    }
}

/* Answers one request, which must stay within the range. */
static struct esp_reply answer(struct bench *bench, const struct esp_request *request) {
    uint32_t at = get_le32(request->head + 8), size = get_le32(request->head + 12);

    assert_true(bench->n_md5s + bench->n_reads < REQUESTS_MAX);
    assert_true(at >= OFFSET && at - OFFSET < SIZE && size <= SIZE - (at - OFFSET));
    memset(bench->payload, 0xa5, sizeof bench->payload);
    if (request->head[1] == ESP_SPI_FLASH_MD5) {
        answer_md5(bench, at - OFFSET, size);
    } else if (request->head[1] == ESP_READ_FLASH) {
        assert_int_equal(size, request->sink_size);
        answer_read(bench, request->sink, at - OFFSET, size);
    } else {
        assert_int_equal(request->head[1], ESP_READ_FLASH_SLOW);
        assert_int_equal(size, sizeof bench->payload);
        answer_read(bench, bench->payload, at - OFFSET, size);
    }
    return (struct esp_reply) { .opcode = request->head[1],
                                .payload = bench->payload,
                                .payload_size = request->payload_size };
}

/* False: the reader gave up. */
static bool read_all(struct bench *bench, const uint8_t *known) {
    struct flash_reader reader;
    struct esp_request request;

    flash_reader_init(&reader, bench->loader, OFFSET, SIZE, bench->out, known);
    while (flash_reader_next(&reader, &request)) {
        struct esp_reply reply = answer(bench, &request);

        if (!flash_reader_take(&reader, &reply))
            return false;
    }
    assert_int_equal(reader.done, SIZE);
    assert_int_equal(reader.n_reads, bench->n_reads);
    return true;
}

static void assert_reads(struct bench *bench, const uint8_t *known, unsigned n_md5s, unsigned n_reads) {
    assert_true(read_all(bench, known));
    assert_memory_equal(bench->out, bench->flash, SIZE);
    assert_int_equal(bench->n_md5s, n_md5s);
    assert_int_equal(bench->n_reads, n_reads);
}

/* ---- few round trips ---------------------------------------------------------------------------- */

static void blank_flash_is_recognised_by_its_md5s(void **state) {
    assert_reads(*state, NULL, SIZE / SECTOR, 0);
}

static void blank_flash_by_raw_md5s(void **state) {
    struct bench *bench = *state;

    bench->loader = &raw_loader;
    assert_reads(bench, NULL, SIZE / SECTOR, 0);
}

static void known_flash_is_recognised_by_its_md5(void **state) {
    struct bench *bench = *state;

    scribble(bench->flash, SIZE, 1);
    memcpy(bench->known, bench->flash, SIZE);
    assert_reads(bench, bench->known, 1, 0);
}

static void erased_since_it_was_known(void **state) {
    struct bench *bench = *state;

    scribble(bench->known, SIZE, 1);
    assert_reads(bench, bench->known, 1, 0);
}

static void known_but_for_one_byte(void **state) {
    struct bench *bench = *state;

    scribble(bench->flash, SIZE, 1);
    memcpy(bench->known, bench->flash, SIZE);
    bench->known[SECTOR + 2 * PART + 5] ^= 1;
    assert_reads(bench, bench->known, 1 + SIZE / SECTOR + SECTOR / PART, PART / 64);
}

static void one_part_written_in_a_blank_sector(void **state) {
    struct bench *bench = *state;

    scribble(bench->flash + 3 * SECTOR + 3 * PART, PART, 2);
    assert_reads(bench, NULL, SIZE / SECTOR + SECTOR / PART, PART / 64);
}

static void unknown_flash_is_read_once(void **state) {
    struct bench *bench = *state;

    scribble(bench->flash, SIZE, 3);
    scribble(bench->known, SIZE, 4);
    assert_reads(bench, bench->known, 1 + SIZE / SECTOR + SIZE / PART, SIZE / 64);
}

static void unknown_flash_by_raw_md5s(void **state) {
    struct bench *bench = *state;

    bench->loader = &raw_loader;
    scribble(bench->flash, SIZE, 3);
    assert_reads(bench, NULL, SIZE / SECTOR + SIZE / PART, SIZE / 64);
}

/* A stub sends a sector, or its beginning where the rest is blank or known. */
static void stub_sends_what_is_new(void **state) {
    struct bench *bench = *state;

    bench->loader = &esp_loader_stub;
    scribble(bench->flash, SIZE, 5);
    assert_reads(bench, NULL, 2 * SIZE / SECTOR, SIZE / SECTOR);
    assert_int_equal(bench->n_bytes, SIZE);

    memcpy(bench->known, bench->flash, SIZE);
    memset(bench->flash + SECTOR + PART, 0xff, SECTOR - PART); /* the second sector's rest is blank */
    bench->flash[2 * SECTOR] ^= 1;                             /* the third's is known */
    bench->flash[3 * SECTOR + PART] ^= 1;
    bench->known[SECTOR] ^= 1;
    bench->n_md5s = bench->n_reads = bench->n_bytes = 0;
    assert_reads(bench, bench->known, 1 + 1 + 3 * 2, 3);
    assert_int_equal(bench->n_bytes, PART + PART + SECTOR);
}

/* The digest of a whole sector has the last word on what was put together. */
static void damaged_beginning_is_found_and_repeated(void **state) {
    struct bench *bench = *state;

    bench->loader = &esp_loader_stub;
    scribble(bench->flash, PART, 6);
    bench->bad_byte = 17;
    bench->n_bad = 1;
    assert_reads(bench, NULL, 2 * 2 + 3, 2);
}

static void nothing_to_read(void **state) {
    struct bench *bench = *state;
    struct flash_reader reader;
    struct esp_request request;

    flash_reader_init(&reader, bench->loader, OFFSET, 0, bench->out, NULL);
    assert_false(flash_reader_next(&reader, &request));
}

/* ---- damaged on the way ------------------------------------------------------------------------- */

static void damaged_read_is_found_and_repeated(void **state) {
    struct bench *bench = *state;

    scribble(bench->flash, SIZE, 5);
    bench->bad_byte = SECTOR + 77;
    bench->n_bad = 1;
    assert_reads(bench, NULL, SIZE / SECTOR + SIZE / PART + 1 + SECTOR / PART, SIZE / 64 + SECTOR / 64);
}

static void damaged_twice_is_repeated_twice(void **state) {
    struct bench *bench = *state;

    scribble(bench->flash, SIZE, 5);
    bench->bad_byte = SIZE - 1;
    bench->n_bad = 2;
    assert_true(read_all(bench, NULL));
    assert_memory_equal(bench->out, bench->flash, SIZE);
}

static void damaged_three_times_is_given_up(void **state) {
    struct bench *bench = *state;

    scribble(bench->flash, SIZE, 5);
    bench->bad_byte = SECTOR + 77;
    bench->n_bad = 3;
    assert_false(read_all(bench, NULL));
    assert_int_equal(bench->n_reads, SECTOR / 64 + 3 * (SECTOR / 64));
}

/* It says that the sector is another one; that costs a second reading and nothing else. */
static void damaged_digest_of_a_sector(void **state) {
    struct bench *bench = *state;

    scribble(bench->flash, SIZE, 6);
    bench->digest_damage = ANOTHER_DIGEST;
    bench->bad_digest_size = SECTOR;
    bench->n_bad_digests = 1;
    assert_true(read_all(bench, NULL));
    assert_memory_equal(bench->out, bench->flash, SIZE);
}

static void damaged_digest_of_a_part(void **state) {
    struct bench *bench = *state;

    scribble(bench->flash, SIZE, 6);
    memcpy(bench->known, bench->flash, SIZE);
    bench->known[7] ^= 1;
    bench->digest_damage = ANOTHER_DIGEST;
    bench->bad_digest_size = PART;
    bench->n_bad_digests = 1;
    assert_true(read_all(bench, bench->known));
    assert_memory_equal(bench->out, bench->flash, SIZE);
}

static void digest_that_is_none_is_asked_for_again(void **state) {
    struct bench *bench = *state;

    memset(bench->flash, 0xff, SIZE);
    bench->digest_damage = NO_DIGEST;
    bench->bad_digest_size = SECTOR;
    bench->n_bad_digests = 2;
    /* In each of the sectors: what happened to one counts for no other. */
    assert_reads(bench, NULL, 3 * SIZE / SECTOR, 0);
}

static void digest_of_a_part_that_is_none_is_done_without(void **state) {
    struct bench *bench = *state;

    scribble(bench->flash + SECTOR, 64, 8);
    bench->digest_damage = NO_DIGEST;
    bench->bad_digest_size = PART;
    bench->n_bad_digests = UINT32_MAX;
    assert_reads(bench, NULL, SIZE / SECTOR + SECTOR / PART, SECTOR / 64);
}

static void digest_that_never_is_one_is_given_up(void **state) {
    struct bench *bench = *state;

    bench->digest_damage = NO_DIGEST;
    bench->bad_digest_size = SECTOR;
    bench->n_bad_digests = 3;
    assert_false(read_all(bench, NULL));
    assert_int_equal(bench->n_md5s, 3);
}

/* The bytes that are handed out are those of the flash, or there are none: never a mixture. */
static void random_damage_never_gets_through(void **state) {
    struct bench *bench = *state;
    uint32_t seed = 1;
    unsigned n_good = 0;

    for (int round = 0; round < 300; round++) {
        scribble(bench->flash, SIZE, seed);
        memset(bench->flash + (seed >> 8) % SIZE, 0xff, SIZE - (seed >> 8) % SIZE);
        memcpy(bench->known, bench->flash, SIZE);
        seed = seed * 1664525 + 1013904223;
        bench->known[(seed >> 8) % SIZE] ^= 1;
        bench->bad_byte = (seed >> 4) % SIZE;
        bench->n_bad = seed >> 30;
        bench->digest_damage = (enum damage)((seed >> 20) % 3);
        bench->bad_digest_size = seed >> 28 & 1 ? SECTOR : PART;
        bench->n_bad_digests = seed >> 26 & 1;
        bench->bad_digest_at = NEVER;
        bench->n_md5s = bench->n_reads = 0;
        if (!read_all(bench, seed >> 27 & 1 ? bench->known : NULL))
            continue;
        n_good++;
        assert_memory_equal(bench->out, bench->flash, SIZE);
    }
    assert_true(n_good > 100);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(blank_flash_is_recognised_by_its_md5s),
        TEST(blank_flash_by_raw_md5s),
        TEST(known_flash_is_recognised_by_its_md5),
        TEST(erased_since_it_was_known),
        TEST(known_but_for_one_byte),
        TEST(one_part_written_in_a_blank_sector),
        TEST(unknown_flash_is_read_once),
        TEST(unknown_flash_by_raw_md5s),
        TEST(stub_sends_what_is_new),
        TEST(damaged_beginning_is_found_and_repeated),
        TEST(nothing_to_read),
        TEST(damaged_read_is_found_and_repeated),
        TEST(damaged_twice_is_repeated_twice),
        TEST(damaged_three_times_is_given_up),
        TEST(damaged_digest_of_a_sector),
        TEST(damaged_digest_of_a_part),
        TEST(digest_that_is_none_is_asked_for_again),
        TEST(digest_of_a_part_that_is_none_is_done_without),
        TEST(digest_that_never_is_one_is_given_up),
        TEST(random_damage_never_gets_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
