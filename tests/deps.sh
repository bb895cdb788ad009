#!/bin/sh
# Installs those of the named Debian packages that are missing. Does nothing, and needs no rights, when all are there.
set -eu

missing=
for package; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "installing:$missing"
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null; then
    sudo=sudo
else
    echo "These packages are missing, and neither root nor sudo is at hand:$missing" >&2
    exit 1
fi
# shellcheck disable=SC2086 # a list of words is what is wanted
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends $missing ||
    { $sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends $missing; }
