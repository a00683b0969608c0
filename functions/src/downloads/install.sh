#!/bin/sh
# Installs the heartbeat of the runner @RUNNER@.
#
#   RUNNER_TOKEN=... sh install.sh
#
# The token was shown when the runner was created. It is stored in a file that only this user can read, and is never passed on
# a command line. Nothing outside the folder is changed.
set -eu

if [ -z "${RUNNER_TOKEN:-}" ]; then
    echo "install.sh: set RUNNER_TOKEN to the token of the runner @RUNNER@" >&2
    exit 1
fi
case "$RUNNER_TOKEN" in
*_rn_@SUFFIX@*) ;;
*)
    echo "install.sh: RUNNER_TOKEN is not the token of the runner @RUNNER@" >&2
    exit 1
    ;;
esac
if ! command -v curl >/dev/null; then
    echo "install.sh: curl is required" >&2
    exit 1
fi

folder="${RUNNER_HOME:-$HOME/.postern/@RUNNER@}"
umask 077
mkdir -p "$folder"
printf 'X-Runner-Token: %s\n' "$RUNNER_TOKEN" >"$folder/token.new"

cat >"$folder/heartbeat" <<'HEARTBEAT'
#!/bin/sh
# Sends one heartbeat with the status of the runner: heartbeat [online|busy|offline|...]
set -eu
exec curl --fail --silent --show-error --max-time 10 --retry 2 \
    --header @"${RUNNER_TOKEN_FILE:-$(dirname "$0")/token}" --header 'Content-Type: application/json' \
    --data "{\"status\":\"${1:-online}\",\"version\":\"@VERSION@\"}" '@URL@/v1/runners/heartbeat'
HEARTBEAT

cat >"$folder/run" <<'RUN'
#!/bin/sh
# Sends a heartbeat every 30 seconds until it is stopped.
trap '"$(dirname "$0")/heartbeat" offline >/dev/null; exit 0' INT TERM
while :; do
    "$(dirname "$0")/heartbeat" >/dev/null || true
    sleep 30 &
    wait $!
done
RUN

chmod 700 "$folder/heartbeat" "$folder/run"
# Replace the stored token only if the new one works.
if ! RUNNER_TOKEN_FILE="$folder/token.new" "$folder/heartbeat" >/dev/null; then
    rm "$folder/token.new"
    echo "install.sh: the first heartbeat failed; check that RUNNER_TOKEN is the token of the runner @RUNNER@" >&2
    exit 1
fi
mv "$folder/token.new" "$folder/token"
echo "The runner @RUNNER@ is online. To keep it online, run: $folder/run"
