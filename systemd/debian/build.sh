#!/bin/sh
# Builds the Debian package out of `make install`: build.sh BUILD VERSION. Run by `make deb`.
set -eu
umask 022

build=$(realpath "$1")
version=$2
source=systemd/debian
work=$build/deb
root=$work/root

said=$(dpkg-parsechangelog -l "$source/changelog" -S Version)
if [ "$said" != "$version" ]; then
    echo "$source/changelog ends with version $said, and the Makefile says $version" >&2
    exit 1
fi
# The same source gives the same package.
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l "$source/changelog" -S Timestamp)
export SOURCE_DATE_EPOCH

rm -rf "$work"
mkdir -p "$work/debian" "$root/DEBIAN"
cp "$source/control" "$source/changelog" "$work/debian/"

${MAKE:-make} -s --no-print-directory install BUILD="$1" DESTDIR="$root" PREFIX=/usr SYSCONFDIR=/etc \
    UNITDIR="$(pkg-config --variable=systemdsystemunitdir systemd)" UDEVDIR="$(pkg-config --variable=udevdir udev)" \
    ZSHDIR=/usr/share/zsh/vendor-completions
strip --remove-section=.comment --remove-section=.note "$root/usr/libexec/wipyd" "$root/usr/bin/wipyctl"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
install -D -m 644 "$source/copyright" "$root/usr/share/doc/wipyd/copyright"
gzip -9nc "$source/changelog" > "$root/usr/share/doc/wipyd/changelog.gz"

install -m 644 "$source/conffiles" "$root/DEBIAN/conffiles"
install -m 755 "$source/postinst" "$source/prerm" "$source/postrm" "$root/DEBIAN/"
(cd "$work" && dpkg-shlibdeps -Tdebian/substvars root/usr/libexec/wipyd root/usr/bin/wipyctl &&
    dpkg-gencontrol -pwipyd -Proot -Tdebian/substvars -fdebian/files -Oroot/DEBIAN/control)
(cd "$root" && find . -path ./DEBIAN -prune -o -type f ! -path ./etc/wipyd.conf -printf '%P\n' | LC_ALL=C sort |
    xargs -d '\n' md5sum > DEBIAN/md5sums)
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

dpkg-deb --root-owner-group -Zxz --build "$root" "$build"
