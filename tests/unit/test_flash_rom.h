#pragma once

/*
 * A boot ROM with a flash chip for whole jobs, behind the bench's pseudo-terminal: what a job asks is
 * answered, what it writes is there. Include it after the bench.
 */

#include <openssl/evp.h>
#include <zlib.h>

#include "daemon/firmware/partitions.h"
#include "daemon/flash/job.h"
#include "daemon/flash/phases.h"

#define ROM_FLASH_BYTES 0x400000u
#define ROM_BLOCK_BYTES 0x1000u /* what the bench's decoder takes */
#define ROM_MAC         "30:ae:a4:01:02:03"
#define ROM_MAC_FOLDER  "30aea4010203"

static struct {
    uint8_t *flash;
    struct bench *bench;
    /* of the BEGIN under way */
    bool is_deflated;
    uint32_t offset, size, blocks, block_bytes, n_stream;
    uint8_t stream[0x11000];
    unsigned n_begins, n_refusals; /* BEGINs carried out; DATA to be refused */
    bool is_deaf;
    void (*on_written)(uint32_t offset);
} rom;

/* ---- the chip ----------------------------------------------------------------------------------- */

static inline uint32_t rom_register(uint32_t address) {
    switch (address) {
    case 0x40001000:
        return 0x00f01d83;
    case 0x3ff5a004: /* the MAC's lower half, then its upper */
        return 0xa4010203;
    case 0x3ff5a008:
        return 0x30ae;
    case 0x3ff42080: /* the flash chip's id: 4 MB */
        return 0x1640ef;
    default:
        return 0;
    }
}

static inline void rom_answer(uint8_t opcode, uint32_t value, const void *payload, size_t size) {
    uint8_t out[256];

    say(rom.bench, out, add_reply(out, 0, opcode, value, payload, size, 0, 0));
}

static inline void rom_md5(uint32_t offset, uint32_t size) {
    uint8_t md5[16];
    char hex[33];

    assert_true(offset + size <= ROM_FLASH_BYTES);
    assert_int_equal(EVP_Digest(rom.flash + offset, size, md5, NULL, EVP_md5(), NULL), 1);
    hex_encode(md5, sizeof md5, hex);
    rom_answer(ESP_SPI_FLASH_MD5, 0, hex, 32);
}

static inline void rom_begin(uint8_t opcode, const uint8_t *words) {
    rom.is_deflated = opcode == ESP_DEFL_BEGIN;
    rom.size = get_le32(words);
    rom.blocks = get_le32(words + 4);
    rom.block_bytes = get_le32(words + 8);
    rom.offset = get_le32(words + 12);
    rom.n_stream = 0;
    if (rom.block_bytes > ROM_BLOCK_BYTES) {
        say_refusal(rom.bench, opcode, 5);
        return;
    }
    assert_true(rom.offset + rom.size <= ROM_FLASH_BYTES);
    memset(rom.flash + rom.offset, 0xff, rom.size);
    rom.n_begins++;
    rom_answer(opcode, 0, NULL, 0);
}

static inline void rom_data(uint8_t opcode, const uint8_t *words) {
    uint32_t size = get_le32(words), sequence = get_le32(words + 4);
    uLongf n = rom.size;

    if (rom.n_refusals) {
        rom.n_refusals--;
        say_refusal(rom.bench, opcode, 7);
        return;
    }
    assert_int_equal(opcode, rom.is_deflated ? ESP_DEFL_DATA : ESP_FLASH_DATA);
    assert_int_equal(sequence * rom.block_bytes, rom.n_stream);
    assert_true(rom.n_stream + size <= sizeof rom.stream);
    memcpy(rom.stream + rom.n_stream, words + 16, size);
    rom.n_stream += size;
    if (sequence + 1 == rom.blocks) {
        if (rom.is_deflated)
            assert_int_equal(uncompress(rom.flash + rom.offset, &n, rom.stream, rom.n_stream), Z_OK);
        else
            memcpy(rom.flash + rom.offset, rom.stream, rom.size);
        assert_int_equal(n, rom.size);
        if (rom.on_written)
            rom.on_written(rom.offset);
    }
    rom_answer(opcode, 0, NULL, 0);
}

static inline void rom_on_request(struct bench *bench, const uint8_t *frame, size_t size) {
    const uint8_t *words = frame + 8;

    (void)size;
    if (rom.is_deaf)
        return;
    switch ((enum esp_opcode)frame[1]) {
    case ESP_SYNC:
        say_syncs(bench, 8, ESP_SYNC_ROM);
        return;
    case ESP_READ_REG:
        rom_answer(frame[1], rom_register(get_le32(words)), NULL, 0);
        return;
    case ESP_READ_FLASH_SLOW:
        rom_answer(frame[1], 0, rom.flash + get_le32(words), ESP_READ_SLOW_BYTES);
        return;
    case ESP_SPI_FLASH_MD5:
        rom_md5(get_le32(words), get_le32(words + 4));
        return;
    case ESP_FLASH_BEGIN:
    case ESP_DEFL_BEGIN:
        rom_begin(frame[1], words);
        return;
    case ESP_FLASH_DATA:
    case ESP_DEFL_DATA:
        rom_data(frame[1], words);
        return;
    case ESP_WRITE_REG:
    case ESP_SPI_SET_PARAMS:
    case ESP_SPI_ATTACH:
    case ESP_CHANGE_BAUDRATE:
        rom_answer(frame[1], 0, NULL, 0);
        return;
    case ESP_FLASH_END: /* leaves the loader: never sent to a ROM */
    case ESP_DEFL_END:
    case ESP_MEM_BEGIN:
    case ESP_MEM_DATA:
    case ESP_MEM_END:
    case ESP_ERASE_REGION:
    case ESP_READ_FLASH:
        break;
    }
    fail_msg("the ROM knows no command %02x", frame[1]);
}

static inline void rom_set_up(struct bench *bench) {
    memset(&rom, 0, sizeof rom);
    rom.bench = bench;
    rom.flash = malloc(ROM_FLASH_BYTES);
    assert_non_null(rom.flash);
    memset(rom.flash, 0xff, ROM_FLASH_BYTES);
}

static inline void rom_tear_down(void) {
    free(rom.flash);
    rom.flash = NULL;
}

/* An entry of the partition table; number counts from 0, and what follows the last one is blank. */
static inline void rom_set_partition(unsigned number, uint8_t type, uint8_t subtype, uint32_t offset,
                                     uint32_t size, const char *label) {
    uint8_t *entry = rom.flash + PARTITION_TABLE_OFFSET + (size_t)32 * number;

    memset(entry, 0, 32);
    entry[0] = 0xaa;
    entry[1] = 0x50;
    entry[2] = type;
    entry[3] = subtype;
    put_le32(entry + 4, offset);
    put_le32(entry + 8, size);
    memcpy(entry + 12, label, strlen(label));
}

/* ---- the job ------------------------------------------------------------------------------------ */

static struct {
    struct flash_job *job;
    unsigned n_finished;
    void (*on_change)(struct flash_job *job);
} run;

static inline void on_job_change(void *userdata, struct flash_job *job) {
    (void)userdata;
    /* The chip has stopped to listen if nobody had the port open. */
    if (rom.bench->is_polled && (flash_job_status(job)->phase == WIPYD_PHASE_RESET ||
                                 flash_job_status(job)->phase == WIPYD_PHASE_SYNC))
        chip_listens(rom.bench);
    if (run.on_change)
        run.on_change(job);
}

static inline void on_job_finished(void *userdata, struct flash_job *job) {
    assert_ptr_equal(job, run.job);
    assert_ptr_equal(userdata, rom.bench);
    run.n_finished++;
}

static const struct flash_job_events job_events = { on_job_change, on_job_finished };

static inline bool is_job_finished(const struct bench *bench) {
    (void)bench;
    return run.n_finished > 0;
}

/* Runs a job to its end, at the bench's port; run.job is to be freed. The bench's own link makes room for it.
 */
static inline const struct flash_status *run_job(struct flash_job_request *request) {
    struct bench *bench = rom.bench;

    if (bench->link) {
        close_link(bench);
        run_until(bench, is_closed);
    }
    bench->on_request = rom_on_request;
    slip_decoder_reset(&bench->decoder, SLIP_FRAME_MAX);
    request->node = request->device = bench->path;
    request->package_fd = -1;
    request->baud = 115200;
    if (!request->connect_timeout_ms)
        request->connect_timeout_ms = 2000;
    run.n_finished = 0;
    assert_int_equal(flash_job_start(&run.job, &bench->loop, request, &job_events, bench), 0);
    run_until(bench, is_job_finished);
    assert_int_equal(run.n_finished, 1);
    return flash_job_status(run.job);
}

static inline void free_job(void) {
    run.job = flash_job_free(run.job);
}
