/* A stub at the other end of the link: that it begins to run, its short status, READ_FLASH, and frames made
 * ahead. */

#include "tests/unit/test_esp_link_bench.h"

#include "daemon/esp/md5.h"

#define HELLO "\xc0OHAI\xc0"

static const struct esp_loader *loader_of(const struct bench *bench) {
    return esp_link_loader(bench->link);
}

static void add_frame(struct bench *bench, const uint8_t *frame, size_t size) {
    uint8_t *out = malloc(SLIP_ENCODED_MAX(size));
    size_t n = 0;

    out[n++] = 0xc0;
    n += slip_encode(frame, size, out + n);
    out[n++] = 0xc0;
    say(bench, out, n);
    free(out);
}

/* As a stub frames it: two bytes of status. */
static void stub_reply(struct bench *bench, uint8_t opcode, uint32_t value, uint8_t status, uint8_t detail) {
    uint8_t frame[10] = { 1, opcode, 2 };

    put_le32(frame + 4, value);
    frame[8] = status;
    frame[9] = detail;
    add_frame(bench, frame, sizeof frame);
}

static void run_stub(struct bench *bench) {
    uv_update_time(&bench->loop);
    bench->in_call = true;
    esp_link_run_stub(bench->link, 0x400a902c, &esp_loader_stub, on_done);
    bench->in_call = false;
}

/* ---- hello ---------------------------------------------------------------------------------------- */

/* moment: bit 0, the reply to the jump comes; bit 1, so does the hello. Whether a stub then answers SYNCs is
 * bit 2. */
static void answer_jump(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)size;
    if (frame[1] == ESP_MEM_END) {
        assert_int_equal(get_le32(frame + 8), 0);
        assert_int_equal(get_le32(frame + 12), 0x400a902c);
        if (bench->moment & 1)
            say_reply(bench, ESP_MEM_END, 0);
        if (bench->moment & 2)
            say(bench, HELLO, 6);
    }
    if (frame[1] == ESP_SYNC && bench->moment & 4)
        stub_reply(bench, ESP_SYNC, 0, 0, 0);
    else if (frame[1] == ESP_SYNC)
        say_syncs(bench, 8, ESP_SYNC_ROM);
}

static void hello_makes_it_the_loader(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_jump;
    for (bench->moment = 2; bench->moment <= 3; bench->moment++) {
        run_stub(bench);
        assert_true(wait_done(bench) < 2000);
        assert_int_equal(bench->outcome, ESP_OK);
        assert_false(bench->has_reply);
        assert_ptr_equal(loader_of(bench), &esp_loader_stub);
    }
    assert_int_equal(bench->n_syncs, 0);
}

static void no_hello_and_the_rom_is_still_there(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_jump;
    bench->moment = 1;
    run_stub(bench);
    assert_lasted(wait_done(bench), 3000);
    assert_int_equal(bench->outcome, ESP_NO_REPLY);
    assert_ptr_equal(loader_of(bench), &esp_loader_rom);
}

static void hello_that_was_lost_is_made_up_for_by_sync(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_jump;
    bench->moment = 4;
    run_stub(bench);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_OK);
    assert_ptr_equal(loader_of(bench), &esp_loader_stub);
}

static void refuse_jump(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)size;
    say_refusal(bench, frame[1], 0x0f);
}

static void jump_that_is_refused(void **state) {
    struct bench *bench = *state;

    bench->on_request = refuse_jump;
    run_stub(bench);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_REFUSED);
    assert_int_equal(bench->reply.error, 0x0f);
    assert_ptr_equal(loader_of(bench), &esp_loader_rom);
}

static void boot_after_jump(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)frame;
    (void)size;
    say_text(bench, DOWNLOAD_LOG);
}

static void chip_that_boots_instead(void **state) {
    struct bench *bench = *state;

    bench->on_request = boot_after_jump;
    run_stub(bench);
    assert_true(wait_done(bench) < 2500);
    assert_int_equal(bench->outcome, ESP_REBOOTED);
}

/* ---- a stub that runs --------------------------------------------------------------------------- */

/* The register at address n is n; 0xc4c4 fails late. A SYNC is answered by who is there, moment 1: the ROM.
 */
static void answer_as_stub(struct bench *bench, const uint8_t *frame, size_t size) {
    uint32_t address = get_le32(frame + 8);

    (void)size;
    switch (frame[1]) {
    case ESP_MEM_END:
        say(bench, HELLO, 6);
        return;
    case ESP_SYNC:
        if (bench->moment == 1)
            say_syncs(bench, 8, ESP_SYNC_ROM);
        else
            stub_reply(bench, ESP_SYNC, 0, 0, 0);
        return;
    case ESP_WRITE_REG: /* what stands between two of a kind */
        stub_reply(bench, ESP_WRITE_REG, 0, 0, 0);
        return;
    case ESP_READ_REG:
        if (address == 0xdead)
            return;
        stub_reply(bench, ESP_READ_REG, address, address == 0xc4c4 ? 0xc4 : 0, 0);
        return;
    default:
        fail_msg("%02x", frame[1]);
    }
}

static void begin_stub(struct bench *bench) {
    bench->on_request = answer_as_stub;
    run_stub(bench);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_OK);
}

static void two_bytes_of_status(void **state) {
    struct bench *bench = *state;

    begin_stub(bench);
    ask_register(bench, 77, LONG_MS);
    wait_done(bench);
    assert_value(bench, 77);
    ask_register(bench, 0xc4c4, LONG_MS);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_REFUSED);
    assert_int_equal(bench->reply.error, 0xc4);
    assert_string_equal(esp_error_text(loader_of(bench), 0xc4), "flash operation failed");
}

static void silence_of_a_stub(void **state) {
    struct bench *bench = *state;

    begin_stub(bench);
    ask_register(bench, 0xdead, SHORT_MS);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_NO_REPLY);
    assert_ptr_equal(loader_of(bench), &esp_loader_stub);
}

/* Nobody heard it boot, but who answers is the ROM. */
static void stub_that_is_gone(void **state) {
    struct bench *bench = *state;

    begin_stub(bench);
    bench->moment = 1;
    ask_register(bench, 0xdead, SHORT_MS);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_REBOOTED);
    assert_ptr_equal(loader_of(bench), &esp_loader_rom);
}

/* ---- READ_FLASH --------------------------------------------------------------------------------- */

enum { READ_SIZE = 9000 };

static struct {
    uint8_t flash[READ_SIZE], sink[READ_SIZE];
    uint32_t sent, n_short; /* bytes that the second frame lacks */
} reading;

static void send_read_frame(struct bench *bench) {
    uint32_t left = READ_SIZE - reading.sent, n = left < ESP_READ_PACKET ? left : ESP_READ_PACKET;
    uint8_t md5[16];

    if (!left) {
        esp_md5(reading.flash, READ_SIZE, md5);
        add_frame(bench, md5, sizeof md5);
        return;
    }
    add_frame(bench, reading.flash + reading.sent, n - (reading.sent ? reading.n_short : 0));
    reading.sent += n;
}

static void answer_read(struct bench *bench, const uint8_t *frame, size_t size) {
    if (size == 4) { /* an acknowledgement */
        assert_int_equal(get_le32(frame), reading.sent);
        send_read_frame(bench);
        return;
    }
    switch (frame[1]) {
    case ESP_READ_FLASH:
        assert_int_equal(get_le32(frame + 8), 0x9000);
        assert_int_equal(get_le32(frame + 12), READ_SIZE);
        assert_int_equal(get_le32(frame + 16), ESP_READ_PACKET);
        stub_reply(bench, ESP_READ_FLASH, 0, 0, 0);
        send_read_frame(bench);
        return;
    default:
        answer_as_stub(bench, frame, size);
    }
}

static void ask_read(struct bench *bench) {
    struct esp_request request;

    bench->on_request = answer_read;
    memset(&reading, 0, sizeof reading);
    for (uint32_t i = 0; i < READ_SIZE; i++) /* with what SLIP has to escape, and what looks like a boot */
        reading.flash[i] = (uint8_t)(i * 7 + (i >> 8));
    memcpy(reading.flash + 100, "ets Jun  8 2016 00:22:57\r\n\r\nrst:0x1", 36);
    esp_request_read_flash(&request, 0x9000, READ_SIZE, reading.sink);
    ask(bench, &request);
}

static void flash_is_read_frame_by_frame(void **state) {
    struct bench *bench = *state;
    uint8_t md5[16];

    begin_stub(bench);
    ask_read(bench);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_OK);
    assert_memory_equal(reading.sink, reading.flash, READ_SIZE);
    assert_int_equal(bench->reply.payload_size, 16);
    esp_md5(reading.flash, READ_SIZE, md5);
    assert_memory_equal(bench->payload, md5, 16);
    ask_register(bench, 5, LONG_MS); /* it listens */
    wait_done(bench);
    assert_value(bench, 5);
}

static void frame_that_lost_a_byte_ends_it_soon(void **state) {
    struct bench *bench = *state;

    begin_stub(bench);
    ask_read(bench);
    reading.n_short = 1;
    assert_true(wait_done(bench) < 2500);
    assert_int_equal(bench->outcome, ESP_NO_REPLY);
    ask_read(bench);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_OK);
    assert_memory_equal(reading.sink, reading.flash, READ_SIZE);
}

static void unplug(struct bench *bench, const uint8_t *frame, size_t size) {
    if (size == 4)
        chip_goes(bench);
    else
        answer_read(bench, frame, size);
}

static void unplug_while_reading(void **state) {
    struct bench *bench = *state;

    begin_stub(bench);
    ask_read(bench);
    bench->on_request = unplug;
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_GONE);
}

/* ---- frames made ahead -------------------------------------------------------------------------- */

static void prepare_register(struct bench *bench, uint32_t address) {
    struct esp_request request;

    esp_request_read_reg(&request, address);
    esp_link_prepare(bench->link, &request);
}

static void what_is_asked_is_what_is_sent(void **state) {
    struct bench *bench = *state;

    begin_stub(bench);
    for (uint32_t i = 1; i < 20; i++) {
        ask_register(bench, i, LONG_MS);
        prepare_register(bench, i + 1 + (i % 3 == 0)); /* now and then for something else */
        wait_done(bench);
        assert_value(bench, i);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(hello_makes_it_the_loader),
        TEST(no_hello_and_the_rom_is_still_there),
        TEST(hello_that_was_lost_is_made_up_for_by_sync),
        TEST(jump_that_is_refused),
        TEST(chip_that_boots_instead),
        TEST(two_bytes_of_status),
        TEST(silence_of_a_stub),
        TEST(stub_that_is_gone),
        TEST(flash_is_read_frame_by_frame),
        TEST(frame_that_lost_a_byte_ends_it_soon),
        TEST(unplug_while_reading),
        TEST(what_is_asked_is_what_is_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
