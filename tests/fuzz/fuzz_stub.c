/* The stub's file: whatever stands there, nothing runs on a chip but a stub whose digests are known. */

#include <openssl/evp.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/firmware/stub_file.h"
#include "tests/fuzz/fuzz.h"

static void check_stub(const struct firmware_stub *stub) {
    must(stub->kind && stub->kind == esp_stub_find(stub->kind));
    for (int i = 0; i < ESP_STUB_SEGMENTS; i++) {
        const struct esp_stub_segment *segment = &stub->kind->segments[i];
        uint8_t digest[32];

        must(stub->segments[i] && segment->size > 0);
        must(EVP_Digest(stub->segments[i], segment->size, digest, NULL, EVP_sha256(), NULL) == 1);
        must(!memcmp(digest, segment->sha256, sizeof digest));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    int fd = memfd_create("esp32.json", MFD_CLOEXEC);
    struct firmware_stub stub;
    char path[64], why[160] = "";

    must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (firmware_stub_read(&stub, path, why, sizeof why))
        check_stub(&stub);
    else
        must_be_story(why, sizeof why);
    firmware_stub_deinit(&stub);
    close(fd);
    return 0;
}
