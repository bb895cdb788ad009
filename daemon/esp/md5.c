#include "daemon/esp/md5.h"

#include <openssl/evp.h>

void esp_md5(const uint8_t *bytes, size_t size, uint8_t ret[static 16]) {
    /* Without a context of our own this fails only where memory is out or MD5 is forbidden; both end in a
     * digest that compares unequal, which is the safe side. */
    if (EVP_Digest(bytes, size, ret, NULL, EVP_md5(), NULL) != 1)
        for (int i = 0; i < 16; i++)
            ret[i] = (uint8_t)i;
}
