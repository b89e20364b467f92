# shellcheck shell=bash
# The CPython release: find it, check it, unpack it. Sourced after common.sh.

CACHE_DIR=${CPYTHON_NIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cpython-nit}
TARBALL_NAME=$(basename "$UPSTREAM_URL")

# tarball_fault FILE: says what is wrong with the file; says nothing if it is
# the release we want.
tarball_fault() {
    local size sha256
    size=$(stat -Lc %s "$1")
    if [[ $size != "$UPSTREAM_SIZE" ]]; then
        echo "wanted $UPSTREAM_SIZE bytes, got $size"
        return
    fi
    sha256=$(sha256sum <"$1" | cut -d' ' -f1)
    if [[ $sha256 != "$UPSTREAM_SHA256" ]]; then
        echo "wanted sha256 $UPSTREAM_SHA256, got $sha256"
    fi
}

# Sets TARBALL to a verified file. The order: what the user names, what an
# earlier run kept, the project's own site, the distribution's archive.
find_tarball() {
    local fault cached=$CACHE_DIR/$TARBALL_NAME
    if [[ -n ${CPYTHON_TARBALL:-} ]]; then
        TARBALL=$(absolute_path "$CPYTHON_TARBALL")
        [[ -f $TARBALL ]] ||
            die "CPYTHON_TARBALL names $TARBALL, which is not a file. Correct it, or unset it to download."
        fault=$(tarball_fault "$TARBALL")
        [[ -z $fault ]] ||
            die "CPYTHON_TARBALL names $TARBALL, which is not CPython $UPSTREAM_VERSION: $fault"
        return
    fi
    TARBALL=$cached
    if [[ -f $cached ]]; then
        fault=$(tarball_fault "$cached")
        if [[ -z $fault ]]; then return; fi
        say "$cached is damaged: $fault. Fetching it again."
        rm -f "$cached"
    fi
    mkdir -p "$CACHE_DIR"
    if try_download "$cached" || try_apt "$cached"; then return; fi
    die "no source had CPython $UPSTREAM_VERSION (details: $LOGS/fetch-*.log)." \
        "Get $UPSTREAM_URL yourself and set CPYTHON_TARBALL to its path."
}

# accept FILE FROM TARGET: a fetched file becomes the cached one if it is right.
accept() {
    local fault
    fault=$(tarball_fault "$1")
    if [[ -n $fault ]]; then
        say "What came from $2 is not CPython $UPSTREAM_VERSION: $fault."
        rm -f "$1"
        return 1
    fi
    mv -f "$1" "$3"
}

try_download() {
    local part
    if ! command -v curl >/dev/null; then
        say "curl is not installed, so the download is skipped."
        return 1
    fi
    part=$(mktemp "$CACHE_DIR/$TARBALL_NAME.part.XXXXXX")
    temporary "$part"
    # 15 s to connect and 30 s below 1 kB/s: slow lines pass, dead ones do not
    # hold up the next source.
    try_step "fetch CPython $UPSTREAM_VERSION from its web site" \
        "$LOGS/fetch-download.log" \
        curl --fail --location --silent --show-error --connect-timeout 15 \
        --speed-limit 1000 --speed-time 30 --retry 2 \
        --output "$part" "$UPSTREAM_URL"
    if ((STEP_STATUS)); then
        say "The download failed: $(tail -n 1 "$LOGS/fetch-download.log")"
        rm -f "$part"
        return 1
    fi
    accept "$part" "$UPSTREAM_URL" "$1"
}

# The release that Debian trixie ships is built from the very tarball we want.
# apt fetches it from the mirror this machine already uses, with lists of its
# own, so neither the system's sources nor its package state change.
try_apt() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg dir mirror
    local package=python${UPSTREAM_VERSION%.*}
    if ! command -v apt-get >/dev/null || [[ ! -f $keyring ]]; then
        say "apt with Debian's archive keys is not available, so it is skipped."
        return 1
    fi
    # shellcheck disable=SC2016 # apt fills these in
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' |
        awk '$3 == "Debian" && $2 !~ /security|updates|backports/ { print $1; exit }') || true
    if [[ -z $mirror ]]; then
        say "apt knows no Debian mirror on this machine, so it is skipped."
        return 1
    fi
    dir=$(mktemp -d "$CACHE_DIR/apt.XXXXXX")
    temporary "$dir"
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/source"
    echo "deb-src [signed-by=$keyring] $mirror trixie main" >"$dir/sources.list"
    try_step "fetch CPython $UPSTREAM_VERSION with apt" \
        "$LOGS/fetch-apt.log" apt_source "$dir" "$package"
    if ((STEP_STATUS)); then
        say "apt could not fetch it: $(tail -n 1 "$LOGS/fetch-apt.log")"
        rm -rf "$dir"
        return 1
    fi
    accept "$(echo "$dir"/source/*.orig.tar.xz)" "apt" "$1" || return 1
    rm -rf "$dir"
}

apt_source() {
    local dir=$1 options
    options=(
        -o "Dir::Etc::SourceList=$dir/sources.list"
        -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::lists=$dir/lists"
        -o "Dir::Cache=$dir/cache"
        # apt's own sandbox user cannot write into a private directory.
        -o APT::Sandbox::User=root
    )
    cd "$dir/source"
    apt-get "${options[@]}" update
    apt-get "${options[@]}" source --download-only --tar-only "$2"
}

# The unpacked release, in $STOCK_SRC. The stamp beside it is written last.
ensure_source() {
    local stamp=$STOCK_SRC.sha256
    if [[ -f $stamp && $(<"$stamp") == "$UPSTREAM_SHA256" && -d $STOCK_SRC ]]; then return; fi
    require_space 400 "the source"
    find_tarball
    rm -rf "$stamp" "$STOCK_SRC" "$STOCK_SRC.part"
    mkdir -p "$STOCK_SRC.part"
    temporary "$STOCK_SRC.part"
    run_step "unpack CPython $UPSTREAM_VERSION" "$LOGS/unpack.log" \
        tar -xJf "$TARBALL" --no-same-owner --strip-components=1 -C "$STOCK_SRC.part"
    mv "$STOCK_SRC.part" "$STOCK_SRC"
    write_file "$stamp" <<<"$UPSTREAM_SHA256"
}

# require_space MEGABYTES WHAT: better now than after two minutes.
require_space() {
    local free
    mkdir -p "$BUILD"
    free=$(df -Pm "$BUILD" | awk 'NR == 2 { print $4 }')
    if ((free < $1)); then
        die "the disk is too full for $2: $1 MB are needed under $BUILD, $free MB are free"
    fi
}
