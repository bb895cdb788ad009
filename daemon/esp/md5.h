#pragma once

/* MD5, as the loader's SPI_FLASH_MD5 gives it: a check against accidents, not against people. */

#include <stddef.h>
#include <stdint.h>

void esp_md5(const uint8_t *bytes, size_t size, uint8_t ret[static 16]);
