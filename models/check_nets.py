"""Hold the batched networks against the plain definition: python3 models/check_nets.py"""
import torch

import nets
import reference


@torch.no_grad()
def main():
    torch.manual_seed(0)
    transformer, text, _, decoder = nets.build(1024)
    for m in (transformer, text):
        for p in m.parameters():
            p.add_(torch.randn_like(p) * 0.03)
    worst = {}

    def compare(name, a, b):
        worst[name] = max(worst.get(name, 0), (a - b).abs().max().item())

    ids = torch.zeros(1, 64, dtype=torch.long)
    ids[0, :13] = torch.randint(2, 1000, (13,))
    e = nets.CONFIG["text_encoder"]
    plain = reference.t5_encode(text.state_dict(), ids[0], 13, e["heads"], e["layers"])
    compare("text encoder", text(ids)[0], plain)

    config = dict(nets.CONFIG["transformer"], **nets.CONFIG["cache"])
    generator = reference.Generator(transformer.state_dict(), config)
    generator.set_text(plain)
    keys, cache = transformer.text_keys(plain[None]), transformer.empty_cache(1, "cpu", torch.float32)
    clean = []
    for _ in range(4):  # the last chunk no longer fits the window whole
        noise = [torch.randn(1, 3, 16, *nets.GRID) for _ in nets.LEVELS]
        clean.append(generator.chunk([x[0] for x in noise]))
        ours, cache = transformer.sample(noise, keys, cache)
        compare("sampler with cache", ours[0], clean[-1])

    clean = torch.stack(clean)[None]
    noisy, level = torch.randn_like(clean), torch.full((1, 4), nets.LEVELS[2])
    flow = transformer.teach(clean, noisy, level, keys, torch.zeros(1, 4, dtype=torch.long))
    generator = reference.Generator(transformer.state_dict(), config)
    generator.set_text(plain)
    for i in range(4):
        compare("teacher forcing", flow[0, i], generator.forward(noisy[0, i], nets.LEVELS[2] * 1000))
        generator.forward(clean[0, i], 0.0)
        generator.cache, generator.frames_done = generator.pending, generator.frames_done + 3

    latents = torch.randn(1, 3, 16, *nets.GRID)
    compare("decoder", decoder(latents)[0].clamp(0, 1), reference.TinyDecoder(decoder.state_dict()).decode(latents[0]))
    for name, error in worst.items():
        print(f"{name:20} largest difference {error:.1e}")
    assert max(worst.values()) < 1e-4


if __name__ == "__main__":
    main()
