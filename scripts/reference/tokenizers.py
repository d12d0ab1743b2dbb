"""Minimal tokenizer sections for tiny models: every byte is a token, a few pieces are longer."""

import gguf

from . import Refused

# Pairs to merge, the first first; `Ġ` is how byte-level BPE shows a space (Radford et al. 2019, GPT-2 encoder.py).
MERGES = (
    "Ġ+t Ġ+a h+e i+n r+e o+n Ġt+he e+r Ġ+s a+t Ġ+w Ġ+o e+n Ġ+c i+t i+s a+n o+r e+s Ġ+b e+d Ġ+f in+g Ġ+p o+u Ġa+n "
    "a+r a+l Ġ+m Ġo+f Ġ+in Ġ+d Ġt+o Ġan+d i+c Ġ+h l+e a+s Ġ+he i+on t+h en+t Ġ+l s+t Ġw+as o+m r+o Ġ+n l+y v+e Ġb+e "
    "Ġ+re e+t Ġ+is s+e u+t l+l a+y Ġ+g i+l c+e"
).split()
# Beginning, end, padding.
SPECIALS = {
    "llama": ("<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>"),
    "qwen2": ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    "qwen3": ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
}


def byte_level_tokenizer(writer, arch, vocabulary):
    """256 bytes, merges, three specials. Llama adds BOS, Qwen does not: their tokenizer_config.json."""
    shown = shown_bytes()
    tokens = list(shown.values())
    for merge in MERGES:
        first, second = merge.replace("Ġ", shown[ord(" ")]).split("+")
        if first not in tokens or second not in tokens or first + second in tokens:
            raise Refused(f"merge {merge} makes no sense")
        tokens.append(first + second)
    types = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(SPECIALS[arch])
    tokens += SPECIALS[arch]
    expect(tokens, vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe" if arch == "llama" else "qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge.replace("+", " ") for merge in MERGES])
    writer.add_bos_token_id(vocabulary - 3)
    writer.add_eos_token_id(vocabulary - 2)
    writer.add_pad_token_id(vocabulary - 1)
    writer.add_add_bos_token(arch == "llama")


def sentence_piece_tokenizer(writer, arch, vocabulary):
    """Gemma's first four, 256 byte tokens, then pieces by rank. A piece is worth merging by its score, minus its rank."""
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    entries = [(token, -1000.0, control) for token in ("<pad>", "<eos>", "<bos>")]
    entries.append(("<unk>", -1000.0, gguf.TokenType.UNKNOWN))
    entries += [(f"<0x{byte:02X}>", -1000.0, gguf.TokenType.BYTE) for byte in range(256)]
    letters = ["\u2581", *"abcdefghijklmnopqrstuvwxyz"]
    pieces = [merge.replace("Ġ", "\u2581").replace("+", "") for merge in MERGES]
    pieces = pieces[: vocabulary - len(entries) - len(letters)] + letters
    entries += [(piece, -float(rank), normal) for rank, piece in enumerate(pieces)]
    tokens, scores, types = zip(*entries)
    expect(tokens, vocabulary)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def shown_bytes():
    """The printable character that stands for each byte in byte-level BPE: GPT-2 encoder.py, bytes_to_unicode."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def expect(tokens, vocabulary):
    if len(set(tokens)) != vocabulary:
        raise Refused(f"the tokenizer has {len(set(tokens))} different tokens, expected {vocabulary}")
