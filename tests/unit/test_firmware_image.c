#include "daemon/firmware/image.h"

#include "tests/unit/test_firmware_make.h"

static enum wipyd_error check(struct blob image) {
    struct fault fault = { 0 };
    enum wipyd_error error = firmware_image_check(image.bytes, image.size, "x.bin", &fault);

    assert_int_equal(fault.code, error);
    if (error)
        assert_memory_equal(fault.story, "x.bin: ", 7);
    return error;
}

static void sound_images_pass(void **state) {
    (void)state;
    for (size_t body = 0; body < 64; body += 4)
        for (int hashed = 0; hashed < 2; hashed++) {
            owned struct blob image = make_image(body, hashed, NULL, 0, 0);

            assert_int_equal(check(image), WIPYD_ERROR_NONE);
        }
}

static void any_flipped_bit_is_found(void **state) {
    owned struct blob image = make_image(100, true, NULL, 0, 0);

    (void)state;
    for (size_t i = 0; i < image.size * 8; i++) {
        image.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_int_equal(check(image), WIPYD_ERROR_IMAGE_CORRUPT);
        image.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
}

static void without_hash_the_checksum_finds_flipped_data(void **state) {
    owned struct blob image = make_image(100, false, NULL, 0, 0);

    (void)state;
    for (size_t i = 32; i < 132; i++) {
        image.bytes[i] ^= 0x20;
        assert_int_equal(check(image), WIPYD_ERROR_IMAGE_CORRUPT);
        image.bytes[i] ^= 0x20;
    }
}

static void cut_images_are_refused(void **state) {
    owned struct blob image = make_image(100, true, NULL, 0, 0);

    (void)state;
    for (size_t size = 0; size < image.size; size++) {
        owned struct blob cut = blob_new(size); /* exact, so that a sanitizer sees reads behind it */

        memcpy(cut.bytes, image.bytes, size);
        assert_int_equal(check(cut), WIPYD_ERROR_IMAGE_CORRUPT);
    }
}

static void lying_headers_are_refused(void **state) {
    static const struct {
        size_t offset;
        uint8_t value;
    } LIES[] = { { 0, 0xea }, { 1, 0 },  { 1, 17 },    { 1, 255 },  { 12, 9 },
                 { 13, 1 },   { 23, 2 }, { 28, 0xff }, { 31, 0xff } };

    (void)state;
    for (size_t i = 0; i < sizeof LIES / sizeof *LIES; i++) {
        owned struct blob image = make_image(100, false, NULL, 0, 0);

        image.bytes[LIES[i].offset] = LIES[i].value;
        assert_int_equal(check(image), WIPYD_ERROR_IMAGE_CORRUPT);
    }
}

static void only_known_trailers_may_follow(void **state) {
    static const struct {
        const char *text;
        bool known;
    } TRAILERS[] = {
        { "0123456789abcdef0123456789ABCDEF", true },
        { "0123456789abcdef0123456789abcdef\xff\xff\xff", true },
        { "\xff\xff\xff\xff", true },
        { "0123456789abcdef0123456789abcde", false },
        { "0123456789abcdef0123456789abcdefx", false },
        { "0123456789abcdef0123456789abcdeg", false },
        { "\xff\xff!", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof TRAILERS / sizeof *TRAILERS; i++) {
        owned struct blob image = make_image(100, true, NULL, 0, 0);
        size_t n = strlen(TRAILERS[i].text);
        owned struct blob longer = blob_new(image.size + n);

        memcpy(longer.bytes, image.bytes, image.size);
        memcpy(longer.bytes + image.size, TRAILERS[i].text, n);
        assert_int_equal(check(longer), TRAILERS[i].known ? WIPYD_ERROR_NONE : WIPYD_ERROR_IMAGE_CORRUPT);
    }
}

static void patch_sets_dio_80m_size_and_redoes_the_hash(void **state) {
    static const struct {
        uint32_t flash_bytes;
        uint8_t size_and_clock;
    } SIZES[] = {
        { 1u << 20, 0x0f }, { 2u << 20, 0x1f }, { 4u << 20, 0x2f }, { 8u << 20, 0x3f }, { 16u << 20, 0x4f }
    };

    (void)state;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++)
        for (int hashed = 0; hashed < 2; hashed++) {
            owned struct blob image = make_image(100, hashed, NULL, 0, 0);
            owned struct blob expected = make_image(100, hashed, NULL, 0, 0);

            image.bytes[2] = 0;
            expected.bytes[2] = 2;
            expected.bytes[3] = SIZES[i].size_and_clock;
            if (hashed)
                sha256_of(expected.bytes, expected.size - 32, expected.bytes + expected.size - 32);
            assert_true(firmware_image_patch(image.bytes, image.size, SIZES[i].flash_bytes));
            assert_memory_equal(image.bytes, expected.bytes, expected.size);
            assert_int_equal(check(image), WIPYD_ERROR_NONE);
        }
}

/* facts/pycom.md: on 4 MB the flash shows params 0x022F */
static void patch_for_4mb_is_022f_and_leaves_trailers(void **state) {
    owned struct blob image = make_image(100, true, NULL, 0, 0);
    owned struct blob longer = blob_new(image.size + 8);

    (void)state;
    memset(longer.bytes, 0xff, longer.size);
    memcpy(longer.bytes, image.bytes, image.size);
    assert_true(firmware_image_patch(longer.bytes, longer.size, 0x400000));
    assert_int_equal(longer.bytes[2] << 8 | longer.bytes[3], 0x022f);
    assert_int_equal(check(longer), WIPYD_ERROR_NONE);
    assert_memory_equal(longer.bytes + 4, image.bytes + 4, image.size - 4 - 32);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_images_pass),
        cmocka_unit_test(any_flipped_bit_is_found),
        cmocka_unit_test(without_hash_the_checksum_finds_flipped_data),
        cmocka_unit_test(cut_images_are_refused),
        cmocka_unit_test(lying_headers_are_refused),
        cmocka_unit_test(only_known_trailers_may_follow),
        cmocka_unit_test(patch_sets_dio_80m_size_and_redoes_the_hash),
        cmocka_unit_test(patch_for_4mb_is_022f_and_leaves_trailers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
