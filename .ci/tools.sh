# Sourced by .ci/run and e2e/run: where build output is kept, and how tools come here. Package registries are all that it needs.

cache="${XDG_CACHE_HOME:-$HOME/.cache}/postern"
mkdir -p "$cache"
export CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-2}"
export AWS_DEFAULT_REGION=eu-west-1 SAM_CLI_TELEMETRY=0

step() { printf '\n== %s\n' "$*"; }

# What comes with the system: installed where that is Debian's, asked for elsewhere. `system COMMAND [PACKAGE]`
system() {
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq "${2:-$1}"
    else
        echo "$1 is needed: install it (Debian's package is ${2:-$1})" >&2
        return 1
    fi
}

# A Python environment of its own with these packages, in exactly these versions: `venv NAME PACKAGE==VERSION …`
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

# Waits for a program in the background: `until_ready PID TEST…`. Ends where the program does.
until_ready() {
    until "${@:2}" >/dev/null 2>&1; do
        kill -0 "$1" 2>/dev/null || { echo "a server did not start" >&2; return 1; }
        sleep 0.1
    done
}

# SAM, with AWS's runtime interface emulator in it
sam_cli() { venv sam aws-sam-cli==1.170.0; }
emulator() { echo "$cache"/sam/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-"$(uname -m | sed s/aarch64/arm64/)"; }
# cargo-lambda, with the linker that it cross-compiles by
cargo_lambda() { venv lambda cargo-lambda==1.9.2 ziglang==0.17.1; }
# Secrets Manager and a second DynamoDB on this machine
ministack() { venv ministack ministack==1.5.33; }
# Node.js and npm. Where the system's is older than the packages here want, npm brings a newer one.
node_js() {
    system node nodejs
    system npm
    [ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 20')" = true ] && return
    [ -x "$cache/node/node_modules/node/bin/node" ] || npm install --prefix "$cache/node" --no-audit --no-fund --silent node@22
    export PATH="$cache/node/node_modules/node/bin:$PATH"
}
