# shellcheck shell=bash
# From the sources to an interpreter. Sourced after common.sh, platform.sh,
# source.sh and series.sh.

# --- The Rust core ----------------------------------------------------------

rust_key() {
    local files=() name
    for name in Cargo.toml Cargo.lock rust-toolchain.toml .cargo rust-core; do
        if [[ -e $ROOT/$name ]]; then files+=("$ROOT/$name"); fi
    done
    hash_files "${files[@]}"
}

rust_core_is_current() {
    [[ -f $CORE_OBJECT && -f $CORE_OBJECT.key && $(<"$CORE_OBJECT.key") == "$(rust_key)" ]]
}

build_rust_core() {
    local key
    if rust_core_is_current; then return; fi
    key=$(rust_key)
    require_rust
    run_step "build the Rust core" "$LOGS/rust-core.log" make_core_object
    write_file "$CORE_OBJECT.key" <<<"$key"
}

# The archive that cargo makes holds the Rust standard library too. Linked as
# it is, its symbols would become part of the interpreter's own and could clash
# with those of extension modules. So it is linked once into a single object
# that holds only what is needed and shows only the core's functions and the
# module that Python code imports.
make_core_object() {
    local target=$BUILD/cargo$CORE_VARIANT names=${CORE_OBJECT%.o}.symbols roots
    local archive=$target/release/libinterrupts_module.a options=() config=$CORE_VARIANT
    local sanitizer='' renamed=()
    case $CORE_VARIANT in
        -sanitize) sanitizer=address config='' ;;
        -thread-sanitizer)
            sanitizer=thread config=-free-threaded
            # Older libraries have these under their own names only, and replace them.
            renamed=(--redefine-sym=__tsan_mem{cpy=memcpy,move=memmove,set=memset})
            ;;
    esac
    if [[ -n $sanitizer ]]; then
        # Given a target, cargo leaves what it runs itself, build scripts, alone.
        mapfile -t options < <(rustc -vV | sed -n 's/^host: /--target=/p')
        archive=$target/${options[0]#--target=}/release/libinterrupts_module.a
        # Rust sees to it that nobody depends on its unstable options by chance;
        # this variable says that we mean it. Everything that the compiled code
        # asks of the sanitizer, gcc's library has: the interface is the same.
        # What the Rust standard library itself does is not looked at; newer versions
        # of Rust want to hear that this is meant, too.
        export RUSTC_BOOTSTRAP=1 RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=$sanitizer"
        if [[ $(rustc -C help) == *unsafe-allow-abi-mismatch* ]]; then
            RUSTFLAGS+=" -Cunsafe-allow-abi-mismatch=sanitizer"
        fi
    fi
    PYO3_CONFIG_FILE=$ROOT/rust-core/module/pyo3-config$config.txt CARGO_TARGET_DIR=$target \
        cargo build --release --package interrupts-module --locked "${options[@]}"
    nm --defined-only --extern-only "$archive" 2>/dev/null |
        awk '$3 ~ /^(_PyInterruptCore_|PyInit__interrupts$)/ { print $3 }' | sort -u >"$names"
    if [[ ! -s $names ]]; then
        echo "error: $archive defines none of the symbols that C needs"
        return 1
    fi
    mapfile -t roots < <(sed 's/^/--undefined=/' "$names")
    ld -r --gc-sections --strip-debug "${roots[@]}" -o "$CORE_OBJECT.linked" "$archive"
    # Rust's own libraries bring their bitcode, which makes a plugin of ar for
    # another version of LLVM crash.
    objcopy --remove-section=.llvmbc --remove-section=.llvmcmd "${renamed[@]}" \
        --keep-global-symbols="$names" "$CORE_OBJECT.linked" "$CORE_OBJECT.new"
    rm "$CORE_OBJECT.linked"
    install_if_changed "$CORE_OBJECT.new" "$CORE_OBJECT"
}

# --- One interpreter --------------------------------------------------------

# A flavour is one interpreter: where its objects are, what it is built from
# and how it is configured. set_flavour fills these variables.
#
#   FLAVOUR    its name, also that of its object directory and in its logs
#   OBJ        its object directory
#   FROM       its source tree
#   CONFIGURE  arguments of configure
#   STOCK      "yes" for the unpatched twin
#   SANITIZE   if it has sanitizers: what says how they behave is in
#              scripts/lib/$SANITIZE.c and scripts/lib/$SANITIZE.supp
#
# An object of CPython begins differently without a GIL, so the Rust module is
# compiled for it apart, and with the sanitizer for addresses or for data races if
# CPython has it: set_flavour also chooses CORE_VARIANT and CORE_OBJECT.
set_flavour() {
    local kind=$1 stock=$2 prefix=$3 free_threaded=${4:-}
    STOCK=$stock
    SANITIZE=''
    FROM=$SRC
    FLAVOUR=$kind
    CONFIGURE=()
    if [[ -n $free_threaded ]]; then
        CONFIGURE+=(--disable-gil)
        CORE_VARIANT=-free-threaded
        CORE_OBJECT=$BUILD/interrupt_core$CORE_VARIANT.o
        FLAVOUR=free-threaded
        if [[ $kind != release ]]; then FLAVOUR=free-threaded-$kind; fi
    fi
    if [[ $stock == yes ]]; then
        FROM=$STOCK_SRC
        if [[ $FLAVOUR == release ]]; then FLAVOUR=stock; else FLAVOUR=stock-$FLAVOUR; fi
    fi
    case $kind in
        debug) CONFIGURE+=(--with-pydebug) ;;
        optimized) CONFIGURE+=(--enable-optimizations --with-lto) ;;
        debug-optimized) CONFIGURE+=(--with-pydebug --enable-optimizations --with-lto) ;;
        sanitize)
            # More than -O1 takes long to compile and blurs the reports.
            CONFIGURE+=(--with-address-sanitizer --with-undefined-behavior-sanitizer
                "OPT=-g1 -O1 -Wall" "LINKFORSHARED=-Xlinker -export-dynamic sanitizers.o")
            SANITIZE=sanitizers
            CORE_VARIANT=-sanitize
            CORE_OBJECT=$BUILD/interrupt_core$CORE_VARIANT.o
            ;;
        thread-sanitizer)
            CONFIGURE+=(--disable-gil --with-thread-sanitizer
                "OPT=-g1 -O1 -Wall" "LINKFORSHARED=-Xlinker -export-dynamic sanitizers.o")
            SANITIZE=thread_sanitizer
            CORE_VARIANT=-thread-sanitizer
            CORE_OBJECT=$BUILD/interrupt_core$CORE_VARIANT.o
            ;;
    esac
    # The prefix is compiled in, so an interpreter to be installed has objects
    # of its own; otherwise each would throw the other's away.
    if [[ -n $prefix ]]; then
        FLAVOUR=$FLAVOUR-install
        CONFIGURE+=("--prefix=$prefix")
    fi
    OBJ=$BUILD/$FLAVOUR
}

# For an object directory outside the source CPython's Makefile asks git about
# the wrong directory, and sys.version would call every build "dirty".
CONFIGURE_COMMON=(HAS_GIT=not-found)

# Everything that configure's result depends on.
configure_key() {
    {
        printf '%s\n' "$FROM" "${CONFIGURE[@]}" "${CONFIGURE_COMMON[@]}" "$UPSTREAM_SHA256" \
            "CC=${CC:-} CFLAGS=${CFLAGS:-} CPPFLAGS=${CPPFLAGS:-} LDFLAGS=${LDFLAGS:-} LIBS=${LIBS:-} PKG_CONFIG_PATH=${PKG_CONFIG_PATH:-}"
        cat "$FROM/configure" "$FROM/pyconfig.h.in"
        if [[ $FLAVOUR == *optimized* ]]; then
            # A profile is good for the sources it was made with only.
            source_key
        fi
    } | hash_of
}

source_key() {
    if [[ $STOCK == yes ]]; then
        echo "$UPSTREAM_SHA256"
    else
        tree_on_disk
        cat "$CORE_OBJECT.key"
    fi
}

build_key() {
    configure_key
    source_key
    if [[ -n $SANITIZE ]]; then hash_files "scripts/lib/$SANITIZE".*; fi
}

# True if nothing that goes into the flavour changed since it was last built.
# Changes nothing itself, so it needs no lock.
is_current() {
    [[ -f $OBJ/built && -x $OBJ/python ]] || return 1
    [[ -f $STOCK_SRC.sha256 && $(<"$STOCK_SRC.sha256") == "$UPSTREAM_SHA256" ]] || return 1
    if [[ $STOCK != yes ]]; then
        [[ -f $BUILD/series.known && ! -f $SRC/.git/series-importing ]] || return 1
        local key tip
        read -r key _ tip <"$BUILD/series.known"
        [[ $key == "$(series_key)" && $tip == "$(imported)" ]] || return 1
        rust_core_is_current || return 1
        generated_is_current || return 1
    fi
    [[ $(<"$OBJ/built") == "$(build_key)" ]]
}

build_flavour() {
    local key start=$SECONDS before after were_current=''
    if [[ ! -f $OBJ/configured ]]; then
        case $FLAVOUR in
            *optimized* | *sanitize*) require_space 1500 "$FLAVOUR" ;;
            *) require_space 700 "$FLAVOUR" ;;
        esac
    fi
    remember_regen_python
    key=$(configure_key)
    recover_objects
    if [[ ! -f $OBJ/configured || $(<"$OBJ/configured") != "$key" ]]; then
        rm -rf "$OBJ"
        mkdir -p "$OBJ/Modules"
        if [[ $STOCK != yes ]]; then
            # CPython's way to hand a variable to its Makefile from outside.
            echo "INTERRUPT_CORE_OBJ=$CORE_OBJECT" >"$OBJ/Modules/Setup.local"
        fi
        run_step "configure $FLAVOUR" "$LOGS/$FLAVOUR-configure.log" in_objects \
            "$FROM/configure" "${CONFIGURE[@]}" "${CONFIGURE_COMMON[@]}" \
            PYTHON_FOR_REGEN="$REGEN_PYTHON"
        write_file "$OBJ/configured" <<<"$key"
    fi
    if [[ $STOCK != yes ]]; then
        if generated_is_current; then were_current=yes; fi
        regenerate
    fi

    rm -f "$OBJ/built"
    before=$(binary_hash)
    : >"$OBJ/building"
    if [[ -n $SANITIZE ]]; then
        run_step "prepare the reports" "$LOGS/$FLAVOUR-reports.log" make_sanitizers_object
        # While it is built the interpreter runs without that object.
        export ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=report_bugs=0
    fi
    run_step "compile $FLAVOUR" "$LOGS/$FLAVOUR-make.log" run_make
    if [[ $STOCK != yes ]]; then
        # These headers are made by the interpreter they are for. Without a GIL the
        # same code is written in other bytes: nobody needs both in turn.
        if [[ -z $CORE_VARIANT || -z $were_current ]]; then
            run_step "freeze test code" "$LOGS/$FLAVOUR-frozenmain.log" freeze_test_code
        fi
        run_step "list the modules" "$LOGS/$FLAVOUR-names.log" list_module_names
        run_step "link $FLAVOUR" "$LOGS/$FLAVOUR-make-again.log" run_make
        record_generated
    fi
    after=$(binary_hash)
    if [[ $before != "$after" ]]; then
        # Byte code of another compiler may carry the same magic number while
        # a change is being worked on, so time stamps do not expose it.
        find "$FROM/Lib" -name __pycache__ -prune -exec rm -rf {} +
    fi
    run_step "try $FLAVOUR" "$LOGS/$FLAVOUR-try.log" try_interpreter
    rm -f "$OBJ/building"
    build_key | write_file "$OBJ/built"
    say "$(printf '%6s  %s' "$((SECONDS - start)) s" "in all; the interpreter is build/$FLAVOUR/python")"
}

# The interpreter is linked with an object that says how sanitizers behave in it, and
# what is built with them can be run with any environment.  (make does not know of it.)
make_sanitizers_object() {
    local cc
    read -ra cc <<<"${CC:-gcc}"
    mkdir -p "$OBJ/reports"
    {
        # The sanitizer reads one file. What CPython itself says is in the release.
        if [[ $SANITIZE == thread_sanitizer ]]; then
            cat "$STOCK_SRC/Tools/tsan/suppressions_free_threading.txt"
        fi
        cat "scripts/lib/$SANITIZE.supp"
    } | write_file "$OBJ/suppressions"
    "${cc[@]}" -c -O1 -g1 "-DREPORTS=\"$OBJ/reports/report\"" \
        "-DSUPPRESSIONS=\"$OBJ/suppressions\"" \
        "scripts/lib/$SANITIZE.c" -o "$OBJ/sanitizers.o"
    rm -f "$OBJ/python"
}

in_objects() { cd "$OBJ" && "$@"; }

# Started in the background, from cron or by some CI systems, we inherit an
# ignored SIGINT and so would every interpreter that is run here, to train the
# optimizer or to test it; CPython's signal tests then fail.
DEFAULT_SIGNALS=(env --default-signal=INT,QUIT)

run_make() {
    in_objects "${DEFAULT_SIGNALS[@]}" make -j "$(nproc)" PYTHON_FOR_REGEN="$REGEN_PYTHON"
}

binary_hash() { if [[ -f $OBJ/python ]]; then hash_of <"$OBJ/python"; fi; }

try_interpreter() {
    "$OBJ/python" -c 'import sys, ssl, zlib, ctypes, sqlite3, bz2, lzma, readline; print(sys.version)'
}

# A compiler or linker that is killed, or whose disk is full, can leave half a
# file that make takes for a finished one. Such a file is among the newest: a
# run that did not reach its end drops what was written in its last 10 seconds.
recover_objects() {
    local newest
    if [[ ! -f $OBJ/building ]]; then return; fi
    newest=$(find "$OBJ" -type f -printf '%T@\n' | sort -n | tail -n 1)
    newest=${newest%.*}
    say "The last build of $FLAVOUR did not finish; carrying on from there."
    if [[ -n $(find "$OBJ/Makefile" "$OBJ/Makefile.pre" "$OBJ/config.status" "$OBJ/pyconfig.h" \
        -newermt "@$((newest - 10))" 2>/dev/null) || ! -f $OBJ/Makefile || $FLAVOUR == *optimized* ]]; then
        rm -f "$OBJ/configured"
        return
    fi
    find "$OBJ" -type f -newermt "@$((newest - 10))" ! -name building ! -name configured -delete
    rm -f "$OBJ/building"
}

# --- Generated files --------------------------------------------------------

# Shared by all flavours, as they lie in the source tree. The stamp holds a
# hash of what they are made from and one of what they are.
generated_inputs() {
    src_git ls-tree -r "$(tree_on_disk)" -- Python Objects Modules Parser PC Programs \
        Include Tools/cases_generator Tools/build | hash_of
}

generated_outputs() { (cd "$SRC" && sha256sum "${GENERATED[@]}") 2>/dev/null | hash_of; }

generated_is_current() {
    [[ -f $BUILD/generated && $(<"$BUILD/generated") == "$(generated_inputs) $(generated_outputs)" ]]
}

record_generated() { write_file "$BUILD/generated" <<<"$(generated_inputs) $(generated_outputs)"; }

regenerate() {
    if generated_is_current; then return; fi
    rm -f "$BUILD/generated"
    run_step "regenerate the opcode tables" "$LOGS/regen.log" run_generators
    record_generated
}

run_generators() {
    in_objects make PYTHON_FOR_REGEN="$REGEN_PYTHON" regen-cases
    "$REGEN_PYTHON" "$SRC/Tools/build/generate_global_objects.py"
}

freeze_test_code() {
    local header=$SRC/Programs/test_frozenmain.h
    "$OBJ/python" "$SRC/Programs/freeze_test_frozenmain.py" "$header.new"
    install_if_changed "$header.new" "$header"
}

list_module_names() {
    local header=$SRC/Python/stdlib_module_names.h
    # It looks for the object directory in the current one.
    in_objects ./python "$SRC/Tools/build/generate_stdlib_module_names.py" >"$header.new"
    install_if_changed "$header.new" "$header"
}

# --- Installation -----------------------------------------------------------

install_flavour() {
    local prefix=$1 stamp=$OBJ/installed
    if [[ -f $stamp && $(<"$stamp") == "$(build_key)" && -x $prefix/bin/python3 && $stamp -nt $OBJ/built ]]; then
        return
    fi
    rm -f "$stamp"
    run_step "install into $prefix" "$LOGS/$FLAVOUR-install.log" in_objects \
        make PYTHON_FOR_REGEN="$REGEN_PYTHON" install
    build_key | write_file "$stamp"
}
