#!/bin/sh
# Gets Espressif's flasher stub for the ESP32 into the folder named, as esp32.json: stub.sh FOLDER. Out of the npm
# package esptool-js, of one version and with one digest; what is in the file the daemon checks again. Does nothing
# when the file is there. Run by `make stub`.
set -eu

name=esptool-js
version=0.7.0
# npm's "integrity": SHA-512 of the package, in base64.
integrity=9wHuW/s9t4Vs6HKcr3pra3gbRVWwaN0eabMWodWH4KEJHEYZxgmWwZ3s0F4xcWVCZOc/L98bGZ4uWoZvR8KBKA==
member=package/lib/targets/stub_flasher/esp32.json

folder=$1
[ -e "$folder/esp32.json" ] && exit 0

command -v npm >/dev/null || "$(dirname "$0")/deps.sh" npm
command -v openssl >/dev/null || "$(dirname "$0")/deps.sh" openssl
mkdir -p "$folder"
work=$(mktemp -d "$folder/.new-XXXXXX")
trap 'rm -rf "$work"' EXIT

(cd "$work" && npm pack --silent "$name@$version" >/dev/null) || {
    echo "npm could not get $name $version: is there a network, and a registry that npm may use?" >&2
    exit 1
}
archive=$work/$name-$version.tgz
if [ "$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)" != "$integrity" ]; then
    echo "what npm gave as $name $version is not what it was: nothing was kept of it" >&2
    exit 1
fi
tar -xzf "$archive" -C "$work" "$member"
mv "$work/$member" "$folder/esp32.json"
echo "  STUB  $folder/esp32.json"
