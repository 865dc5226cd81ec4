"""Reads MPEG transport streams (ISO/IEC 13818-1) as far as their clocks go."""

NULL = 0x1FFF


class Transport:
    def __init__(self, data):
        self.packets = len(data) // 188
        self.errors = []
        self.pcrs = []   # (packet number, ticks of 27 MHz)
        self.pts = {}    # PID: [(packet number, ticks of 90 kHz)]
        counters = {}
        if len(data) % 188:
            self.errors.append(f'{len(data)} bytes are no whole packets')
        for n in range(self.packets):
            packet = data[n * 188:n * 188 + 188]
            if packet[0] != 0x47:
                self.errors.append(f'packet {n} does not begin with 47')
                continue
            pid = (packet[1] & 0x1F) << 8 | packet[2]
            start, adaptation, payload = packet[1] & 0x40, packet[3] & 0x20, packet[3] & 0x10
            if pid == NULL:
                continue
            if payload:
                counter = packet[3] & 15
                if pid in counters and counter != (counters[pid] + 1) & 15:
                    self.errors.append(f'packet {n}: PID {pid} counts from {counters[pid]} to {counter}')
                counters[pid] = counter
            begin = 4
            if adaptation:
                begin += 1 + packet[4]
                if packet[4] and packet[5] & 0x10:
                    p = packet[6:12]
                    base = p[0] << 25 | p[1] << 17 | p[2] << 9 | p[3] << 1 | p[4] >> 7
                    self.pcrs.append((n, base * 300 + ((p[4] & 1) << 8 | p[5])))
            if payload and start and packet[begin:begin + 3] == b'\0\0\1' and packet[begin + 7] & 0x80:
                p = packet[begin + 9:begin + 14]
                ticks = (p[0] >> 1 & 7) << 30 | p[1] << 22 | (p[2] >> 1) << 15 | p[3] << 7 | p[4] >> 1
                self.pts.setdefault(pid, []).append((n, ticks))
