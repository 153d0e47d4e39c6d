#!/bin/sh
# The edge's keys for a try-out, made once per machine: a signing key that nobody else has, and the write key `demo` for
# pages of this machine. For real use write the file yourself (docs/edge.md) and mount it.
set -eu
file=${1:-/keys/keys.yaml}
[ ! -s "$file" ] || exit 0
signing=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
umask 022
cat > "$file" << END
signing_keys:
  - {id: made-here, secret: "$signing"}
shops:
  demo: {write_keys: [demo], origins: ["http://localhost:*", "http://127.0.0.1:*"]}
END
