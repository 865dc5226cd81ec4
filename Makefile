# lightforce: the two commands, on a fresh Debian 12
#
#   make run      set up, build, make a video with the default model and say where it is
#   make check    set up, build, run all tests
#
# PROMPT, SECONDS, SEED and OUT change what `make run` makes.

BUILD ?= build
OUT ?= out/lightforce.mp4
PROMPT ?= a red ball bouncing on green hills
SECONDS ?= 6
SEED ?= 1

BUILD_PACKAGES = build-essential meson ninja-build pkg-config libglib2.0-dev libjson-glib-dev \
  libsentencepiece-dev libzip-dev libopenblas-dev libgstreamer1.0-dev \
  libgstreamer-plugins-base1.0-dev libgstreamer-plugins-bad1.0-dev libgstrtspserver-1.0-dev \
  libsoup-3.0-dev
RUN_PACKAGES = gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-base-apps \
  gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-nice \
  glib-networking
CHECK_PACKAGES = clang clang-format libclang-rt-14-dev gstreamer1.0-libav python3 valgrind ffmpeg \
  openssl shellcheck curl xvfb gstreamer1.0-x fonts-dejavu-core chromium

.PHONY: run check build deps-run deps-check format clean

run: deps-run build
	tools/make-video "$(BUILD)" "$(OUT)" "$(PROMPT)" "$(SECONDS)" "$(SEED)"

check: deps-check
	tests/check

build: $(BUILD)/build.ninja
	meson compile -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD)

deps-run:
	@tools/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES)

deps-check:
	@tools/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES) $(CHECK_PACKAGES)

# lay out all C and C++ sources as tests/check wants them
format:
	tools/list-sources | xargs clang-format -i

clean:
	rm -rf $(BUILD) build-asan build-tsan build-fuzz out
