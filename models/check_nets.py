"""Hold the batched networks against the plain definition: python3 models/check_nets.py"""
import torch

import nets
import reference


@torch.no_grad()
def main():
    torch.manual_seed(0)
    transformer, text, encoder, decoder = nets.build(1024)
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

    keys = transformer.text_keys(plain[None])
    slots, which = (0, 1, 1, 2, 3), torch.zeros(1, 8, dtype=torch.long)
    for name, sparse in (("dense", None), ("sparse", nets.CONFIG["sparse"]),
                         ("0.9", dict(nets.CONFIG["sparse"], target=0.9, base=0.92))):
        config = dict(nets.CONFIG["transformer"], **nets.CONFIG["cache"], sparse=sparse)
        share = lambda i: sparse and torch.tensor([nets.sparsity_of(i, sparse["target"], sparse["base"])])
        generator = reference.Generator(transformer.state_dict(), config)
        generator.set_text(plain)
        cache, clean = transformer.empty_cache(1, "cpu", torch.float32), []
        for i in range(4):  # the last chunk no longer fits the window whole
            noise = [torch.randn(1, 3, 16, *nets.GRID) for _ in nets.LEVELS]
            flow = transformer.step(noise[1], nets.LEVELS[1], keys, cache, share(i))[0][0]
            compare(f"one pass with cache, {name}", flow, generator.forward(noise[1][0], nets.LEVELS[1] * 1000))
            clean.append(generator.chunk([x[0] for x in noise], nets.CONFIG["sampling"]["steps"]))
            # Rounding may tip the choice of a block: from here on, only dense attention must agree.
            ours, cache = transformer.sample(noise, keys, cache, sparsity=share(i), truth=clean[-1][None],
                                             given=torch.tensor([sparse is not None]))
            if not sparse:
                compare("sampler", ours[0], clean[-1])

        clean = torch.stack(clean)[None]
        noisy, level = torch.randn_like(clean[:, list(slots)]), torch.full((1, 5), nets.LEVELS[2])
        flow = transformer.teach(clean[:, :3], noisy, level, keys, which, slots,
                                 sparse and torch.stack([share(i) for i in range(4)], 1))
        generator = reference.Generator(transformer.state_dict(), config)
        generator.set_text(plain)
        for i in range(4):
            for j in (j for j, slot in enumerate(slots) if slot == i):
                compare(f"teacher forcing, {name}", flow[0, j], generator.forward(noisy[0, j], nets.LEVELS[2] * 1000))
            generator.forward(clean[0, i], 0.0)
            generator.cache, generator.frames_done = generator.pending, generator.frames_done + 3

    latents = torch.randn(1, 3, 16, *nets.GRID)
    compare("decoder", decoder(latents)[0].clamp(0, 1), reference.TinyDecoder(decoder.state_dict()).decode(latents[0]))
    picture = torch.rand(3, 8 * nets.GRID[0], 8 * nets.GRID[1])
    compare("encoder, first picture", encoder(picture[None, None])[0, 0],
            reference.encode_picture(encoder.state_dict(), picture))
    for name, error in worst.items():
        print(f"{name:28} largest difference {error:.1e}")
    assert max(worst.values()) < 1e-4


if __name__ == "__main__":
    main()
