# Sourced by .ci/run, e2e/run and the scripts in local/: the cache folder, and functions that install tools from package registries.

cache="${XDG_CACHE_HOME:-$HOME/.cache}/postern"
mkdir -p "$cache"
export CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-2}"
export AWS_DEFAULT_REGION=eu-west-1 SAM_CLI_TELEMETRY=0

step() { printf '\n== %s\n' "$*"; }

# Installs a system package on Debian; fails with a message elsewhere: `system COMMAND [PACKAGE]`
system() {
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq "${2:-$1}"
    else
        echo "$1 is required: install it (on Debian, the package ${2:-$1})" >&2
        return 1
    fi
}

# Creates a Python environment with exactly these packages: `venv NAME PACKAGE==VERSION …`
venv() {
    local folder="$cache/$1" wanted="${*:2}"
    [ -e "$folder/wanted" ] && [ "$(cat "$folder/wanted")" = "$wanted" ] && return
    system python3
    if ! python3 -c "import ensurepip" 2>/dev/null; then
        system a-python-with-ensurepip python3-venv
    fi
    rm -rf "$folder"
    python3 -m venv "$folder"
    [ $# = 1 ] || "$folder/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
    printf '%s' "$wanted" >"$folder/wanted"
}

# Waits until a test succeeds; fails if the process ends first: `until_ready PID TEST…`
until_ready() {
    until "${@:2}" >/dev/null 2>&1; do
        kill -0 "$1" 2>/dev/null || { echo "a server did not start" >&2; return 1; }
        sleep 0.1
    done
}

# SAM, which contains AWS's runtime interface emulator
sam_cli() { venv sam aws-sam-cli==1.170.0; }
emulator() { echo "$cache"/sam/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-"$(uname -m | sed s/aarch64/arm64/)"; }
# cargo-lambda and the linker that it uses to cross-compile
cargo_lambda() { venv lambda cargo-lambda==1.9.2 ziglang==0.17.1; }
# MiniStack: a local Secrets Manager and a second implementation of DynamoDB
ministack() { venv ministack ministack==1.5.33; }
# Node.js and npm. If the system's Node.js is too old, npm installs a newer one.
node_js() {
    system node nodejs
    system npm
    [ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 20')" = true ] && return
    [ -x "$cache/node/node_modules/node/bin/node" ] || npm install --prefix "$cache/node" --no-audit --no-fund --silent node@22
    export PATH="$cache/node/node_modules/node/bin:$PATH"
}
# The version of Node.js that GitHub runs actions with, and that the MCP conformance suite needs: `node_24` prints its path
node_24() {
    [ -x "$cache/node24/node_modules/node/bin/node" ] || npm install --prefix "$cache/node24" --no-audit --no-fund --silent node@24 >&2
    echo "$cache/node24/node_modules/node/bin/node"
}
