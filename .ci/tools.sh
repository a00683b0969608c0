# Sourced by .ci/run and e2e/run: where build output is kept, and how tools come here. Package registries are all that it needs.

cache="${XDG_CACHE_HOME:-$HOME/.cache}/postern"
mkdir -p "$cache"
export CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-2}"
export AWS_DEFAULT_REGION=eu-west-1 SAM_CLI_TELEMETRY=0

step() { printf '\n== %s\n' "$*"; }

# A program that Debian packages under its own name, where it is missing
debian() {
    command -v "$1" >/dev/null || { apt-get update -qq && apt-get install -y -qq "$1"; }
}

# A Python environment of its own with these packages, in exactly these versions: `venv NAME PACKAGE==VERSION …`
venv() {
    local folder="$cache/$1" wanted="${*:2}"
    if [ "$(cat "$folder/wanted" 2>/dev/null)" != "$wanted" ]; then
        rm -rf "$folder"
        python3 -m venv "$folder"
        "$folder/bin/pip" install --quiet --disable-pip-version-check "${@:2}"
        printf '%s' "$wanted" >"$folder/wanted"
    fi
}

# SAM, with AWS's runtime interface emulator in it
sam_cli() { venv sam aws-sam-cli==1.170.0; }
emulator() { echo "$cache"/sam/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-"$(uname -m | sed s/aarch64/arm64/)"; }
# cargo-lambda, with the linker that it cross-compiles by
cargo_lambda() { venv lambda cargo-lambda==1.9.2 ziglang==0.17.1; }
# Secrets Manager and a second DynamoDB on this machine
ministack() { venv ministack ministack==1.5.33; }
