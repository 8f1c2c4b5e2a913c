# The operator's image for those who have Docker; dev/image makes the same without, and a test compares the two. Base images are
# pinned by tag: for a build that can be repeated to the bit, add the digests that your registry shows.
#
#   docker build --tag vaultwall:0.1.0 .

# The Rust of rust-toolchain.toml.
FROM rust:1.95.0-bookworm AS build
WORKDIR /source
COPY . .
# A static program, linked with the GNU C library as dev/image does: it needs nothing of an image, and looks up names by DNS and
# files alone.
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
