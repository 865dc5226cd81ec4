"""The SentencePiece vocabulary: trained once on captions and common words, with byte fallback."""
import html
import io
import re

import sentencepiece as spm

import captions

VOCAB = 1024


def train(seed=0, count=40000):
    """-> bytes of a SentencePiece model; pad 0, </s> 1, unk 2, as in UMT5."""
    out = io.BytesIO()
    lines = sorted(set(captions.corpus(seed, count)))
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, vocab_size=VOCAB, model_type="unigram",
        byte_fallback=True, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=1.0,
        hard_vocab_limit=False, num_threads=1, minloglevel=2)
    return out.getvalue()


def clean(prompt):
    prompt = html.unescape(html.unescape(prompt))
    return re.sub(r"\s+", " ", prompt).strip()


class Tokenizer:
    def __init__(self, model, length):
        self.sp, self.length = spm.SentencePieceProcessor(model_proto=model), length

    def __call__(self, prompt):
        """-> ids padded with 0, </s> after the last word."""
        ids = self.sp.encode(clean(prompt))[:self.length - 1] + [1]
        return ids + [0] * (self.length - len(ids))
