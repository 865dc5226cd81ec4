"""Muon for the matrices, Adam for the rest."""
import torch


def orthogonal(g, steps=5):
    """Nearest (semi-)orthogonal matrix of a stack [n, r, c], by a quintic Newton-Schulz iteration."""
    x = g.bfloat16() if g.is_cuda else g
    flip = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if flip else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.transpose(1, 2) if flip else x).to(g.dtype)


class Muon:
    """Matrices (kernels as matrices) of one shape are updated together; the step has about Adam's size."""

    def __init__(self, matrices, others, decay=0.02):
        groups = {}
        for p in matrices:
            groups.setdefault(tuple(p.shape), []).append(p)
        self.groups = [(ps, torch.zeros(len(ps), shape[0], ps[0][0].numel(), device=ps[0].device))
                       for shape, ps in groups.items()]
        self.adam = torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0,
                                      fused=others[0].is_cuda)
        self.decay = decay

    @torch.no_grad()
    def step(self, rate, momentum=0.95):
        for ps, m in self.groups:
            g = torch.stack([p.grad.flatten(1) for p in ps])
            m.lerp_(g, 1 - momentum)
            update = orthogonal(torch.lerp(g, m, momentum)) * (0.2 * max(m.shape[1:]) ** 0.5)
            torch._foreach_mul_(ps, 1 - rate * self.decay)
            torch._foreach_add_(ps, [u.view_as(p) for u, p in zip(update, ps)], alpha=-rate)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()

    def zero(self):
        for ps, _ in self.groups:
            for p in ps:
                p.grad = None
        self.adam.zero_grad(set_to_none=True)


def split(modules):
    """Hidden matrices for Muon; embeddings, norms, biases, first and last layers for Adam."""
    matrices, others = [], []
    for m in modules:
        for name, p in m.named_parameters():
            plain = p.dim() == 2 and not any(s in name for s in ("embedding", "head", "time_"))
            (matrices if plain else others).append(p)
    return matrices, others
