# The operator's image, built with Docker. dev/image builds the same image without Docker, and a test compares the two.
# Base images are pinned by tag: for a reproducible build, add the digests of your registry.
#
#   docker build --tag vaultwall:0.1.0 .

# The Rust version of rust-toolchain.toml.
FROM rust:1.95.0-bookworm AS build
WORKDIR /source
COPY . .
# A static program, linked with the GNU C library as in dev/image. It needs no other file of an image, and resolves
# names only by DNS and files.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    target="$(uname -m)-unknown-linux-gnu" \
    && cargo build --locked --release --bin vaultwall --target "$target" \
        --config "target.$target.rustflags=['-Ctarget-feature=+crt-static']" \
    && cp "target/$target/release/vaultwall" /vaultwall

FROM scratch
COPY --from=build /vaultwall /vaultwall
USER 65532
WORKDIR /
ENTRYPOINT ["/vaultwall"]
