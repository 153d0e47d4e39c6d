#!/bin/sh
# numba keeps what it compiled where it can also write; the image's root is read-only. So the compiled kernels that the
# build made are copied to the writable /tmp once per container, before anything is imported.
set -eu
if [ ! -d "$NUMBA_CACHE_DIR" ]; then
    cp -a /opt/clickstage/numba "$NUMBA_CACHE_DIR"
fi
exec clickstage "$@"
