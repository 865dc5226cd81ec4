"""Training on several GPUs, a process each, as torch.distributed.run starts them: every process has
data of its own and the same weights, because gradients are averaged.  Alone, all of this does nothing."""
import datetime
import os

import torch
import torch.distributed as dist


class Ranks:
    def __init__(self, device):
        """device: "cuda" becomes this process's own GPU."""
        self.count, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        self.device = torch.device(device)
        if self.count == 1:
            return
        if self.device.type == "cuda":
            self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(self.device)
        # The first process alone makes samples and evaluates: the others wait that long.
        wait = datetime.timedelta(minutes=30)
        dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo", timeout=wait)
        # Plain numbers go by another way, so that they do not wait for the GPU.
        self.numbers = dist.new_group(backend="gloo", timeout=wait)

    @property
    def first(self):
        return self.rank == 0

    def agree(self, number):
        """The first process's number, everywhere: clocks differ."""
        if self.count == 1:
            return number
        value = torch.tensor([number], dtype=torch.float64)
        dist.broadcast(value, 0, group=self.numbers)
        return value.item()

    @torch.no_grad()
    def start(self, modules):
        """The first process's weights, everywhere."""
        if self.count > 1:
            for m in modules:
                for t in m.state_dict().values():
                    dist.broadcast(t, 0)

    @torch.no_grad()
    def average(self, parameters):
        """The mean of the processes' gradients, in each of them."""
        if self.count == 1:
            return
        grads = [p.grad for p in parameters]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        flat /= self.count
        torch._foreach_copy_(grads, [f.view_as(g) for f, g in zip(flat.split([g.numel() for g in grads]), grads)])

    def end(self):
        if self.count > 1:
            dist.destroy_process_group()
