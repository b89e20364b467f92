# shellcheck shell=bash
# What the build needs from the machine. Sourced after common.sh.

require_platform() {
    local system machine
    system=$(uname -s)
    machine=$(uname -m)
    if [[ $system != Linux || ! $machine =~ ^(x86_64|aarch64)$ ]] ||
        ! getconf GNU_LIBC_VERSION >/dev/null 2>&1; then
        die "this platform is not supported: $system on $machine." \
            "Wanted: Linux with glibc on x86_64 or aarch64."
    fi
    # CPython's own Makefile cannot cope with such a path.
    if [[ $ROOT =~ [^A-Za-z0-9_./+@,~-] ]]; then
        die "CPython cannot be built below $ROOT: the path may hold only letters, digits and _./+@,~-"
    fi
}

# --- System packages --------------------------------------------------------

# Header of a library that a complete interpreter is linked with, and the
# Debian package that has it. (Not tkinter: it pulls in a window system.)
HEADERS=(
    stdlib.h:libc6-dev openssl/ssl.h:libssl-dev zlib.h:zlib1g-dev
    ffi.h:libffi-dev bzlib.h:libbz2-dev lzma.h:liblzma-dev
    sqlite3.h:libsqlite3-dev readline/readline.h:libreadline-dev
    ncurses.h:libncurses-dev uuid/uuid.h:uuid-dev gdbm.h:libgdbm-dev
    gdbm-ndbm.h:libgdbm-compat-dev
)
TOOLS=(
    make:make git:git xz:xz-utils ld:binutils objcopy:binutils nm:binutils
    pkg-config:pkg-config
)

compiler() {
    local name
    for name in ${CC:-gcc clang cc}; do
        if command -v "$name" >/dev/null; then
            echo "$name"
            return
        fi
    done
}

# Prints the Debian packages that are missing, one a line.
missing_packages() {
    local entry cc missing flags
    for entry in "${TOOLS[@]}"; do
        command -v "${entry%%:*}" >/dev/null || echo "${entry#*:}"
    done
    if [[ -z ${CPYTHON_TARBALL:-} && ! -d $STOCK_SRC ]] && ! command -v curl >/dev/null; then
        echo curl
        echo ca-certificates
    fi
    cc=$(compiler)
    if [[ -z $cc ]]; then
        echo gcc
        printf '%s\n' "${HEADERS[@]#*:}"
    else
        # One run of the preprocessor answers for all headers, wherever the
        # compiler was told to look for them.
        read -ra flags <<<"${CPPFLAGS:-}"
        missing=$(for entry in "${HEADERS[@]}"; do
            printf '#if !__has_include(<%s>)\nMISSING %s\n#endif\n' "${entry%%:*}" "${entry#*:}"
        done | "$cc" "${flags[@]}" -E -P -x c -) || die "the C compiler does not work: $cc ${CPPFLAGS:-}"
        sed -n 's/^MISSING //p' <<<"$missing"
    fi
    if [[ -z $(find_regen_python) ]]; then echo python3; fi
}

require_packages() {
    local list missing command sudo=()
    list=$(missing_packages | sort -u)
    if [[ -z $list ]]; then return; fi
    mapfile -t missing <<<"$list"
    command=(apt-get install -y --no-install-recommends "${missing[@]}")
    if ! command -v apt-get >/dev/null; then
        die "missing system packages, by their Debian names: ${missing[*]}"
    fi
    if ((EUID != 0)); then
        if ! sudo -n true 2>/dev/null; then
            say "$PROGRAM: error: system packages are missing. Install them with this line:"
            printf '\nsudo apt-get update && sudo %s\n\n' "${command[*]}" >&2
            exit 1
        fi
        # sudo drops the environment unless told to keep this variable.
        sudo=(sudo -n DEBIAN_FRONTEND=noninteractive)
    fi
    say "Installing system packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    run_step "update the package lists" "$LOGS/apt-update.log" \
        "${sudo[@]}" apt-get update
    run_step "install packages" "$LOGS/apt-install.log" \
        "${sudo[@]}" "${command[@]}"
    list=$(missing_packages | sort -u)
    [[ -z $list ]] || die "still missing after the installation: ${list//$'\n'/ }"
}

# --- Rust -------------------------------------------------------------------

require_rust() {
    local wanted got command
    wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$ROOT/Cargo.toml" | head -n 1)
    [[ -n $wanted ]] || die "Cargo.toml does not name a rust-version"
    # The installer leaves cargo here, and a shell started before it does not
    # have the directory on its PATH.
    if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo ]]; then
        PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    fi
    if command -v rustup >/dev/null; then
        command="rustup update stable"
    else
        command="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
    fi
    if ! command -v cargo >/dev/null; then
        say "$PROGRAM: error: the Rust toolchain is missing (wanted: $wanted or newer). Get it with:"
    else
        got=$(rustc --version 2>/dev/null | cut -d' ' -f2) || true
        if [[ $(printf '%s\n' "$wanted" "$got" | sort -V | head -n 1) == "$wanted" ]]; then return; fi
        say "$PROGRAM: error: the Rust toolchain is too old (wanted: $wanted or newer, got: ${got:-none that runs}). Get a newer one with:"
    fi
    printf '\n%s\n\n' "$command" >&2
    exit 1
}

# --- A Python that runs CPython's code generators ---------------------------

# Prints the path of a working Python 3.10 or newer; nothing if there is none.
# Each candidate is run: version managers put shims on the PATH that exist and
# fail. The answer of an earlier run is the first candidate.
find_regen_python() {
    local known=$BUILD/python-for-regen candidate path
    for candidate in "${PYTHON_FOR_REGEN:-}" "$(cat "$known" 2>/dev/null)" \
        python3 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3 \
        "$BUILD/stock/python"; do
        if [[ -z $candidate ]]; then continue; fi
        path=$("$candidate" -I -c '
import sys
if sys.version_info >= (3, 10) and "free-threading" not in sys.version:
    print(sys.executable)' 2>/dev/null) || continue
        if [[ -n $path ]]; then
            echo "$path"
            return
        fi
    done
}

remember_regen_python() {
    REGEN_PYTHON=$(find_regen_python)
    [[ -n $REGEN_PYTHON ]] || die "no working Python 3.10 or newer; install python3 or set PYTHON_FOR_REGEN"
    write_file "$BUILD/python-for-regen" <<<"$REGEN_PYTHON"
}
