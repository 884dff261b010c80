# Read by room-actors and test. Runs Python in an environment that holds exactly what a lock
# file names, and prepares that environment first where it is missing, old or unfinished.
# shellcheck shell=sh disable=SC2154

# Two in a row: no Python that fits, then one that fits but cannot make environments.
find_python() {
    bare=
    for candidate in ${ROOM_ACTORS_PYTHON:+"$ROOM_ACTORS_PYTHON"} \
        ${ROOM_ACTORS_PYTHON:-python3 python3.13 python3.12 python3.11}; do
        [ -n "$(command -v "$candidate")" ] || continue
        "$candidate" -I -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
            2>/dev/null || continue
        if "$candidate" -I -c 'import ensurepip, ssl, venv' 2>/dev/null; then
            python=$candidate
            return
        fi
        bare=$candidate
    done
    if [ -n "$bare" ]; then
        version=$("$bare" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "room-actors: $bare cannot make a virtual environment: install its venv module" \
            "(Debian, Ubuntu: apt install python$version-venv)" >&2
    elif [ -n "${ROOM_ACTORS_PYTHON:-}" ]; then
        echo "room-actors: ROOM_ACTORS_PYTHON names $ROOM_ACTORS_PYTHON, which is no Python" \
            "3.11, 3.12 or 3.13: set it to one, or unset it to have one looked for" >&2
    else
        echo "room-actors: no Python 3.11, 3.12 or 3.13 found: install one," \
            "or set ROOM_ACTORS_PYTHON to where it is" >&2
    fi
    exit 2
}

# run_in_environment VENV LOCK ARGUMENTS...: becomes `python ARGUMENTS...`
run_in_environment() {
    venv=$1 lock=$2
    shift 2
    case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
    # A path is taken apart at its colons: ours in PYTHONPATH, the environment's in PATH.
    for path in "$root" "$venv"; do
        case $path in
        *:*)
            how="move the checkout"
            [ "$path" = "$root" ] || how="name another folder by ROOM_ACTORS_VENV"
            echo "room-actors: $path has a colon in it, which Python cannot take: $how" >&2
            exit 2
            ;;
        esac
    done
    # Our own modules come from the checkout, everything else from the environment, and
    # nothing from the folder we are called in; so it is for our child processes too.
    PYTHONPATH=$root PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1
    export PYTHONPATH PYTHONSAFEPATH PYTHONNOUSERSITE
    unset PYTHONHOME
    # The copy of the lock is the last thing that a finished installation writes. Where a
    # Python was asked for, environment.py sees whether this is it.
    if [ -z "${ROOM_ACTORS_PYTHON:-}" ] && [ -x "$venv/bin/python" ] &&
        cmp -s "$lock" "$venv/installed.lock"; then
        exec "$venv/bin/python" "$@"
    fi
    find_python
    exec "$python" -I "$root/bin/environment.py" "$venv" "$lock" "$@"
}
