"""Uses `vitrine connect` as a program does that knows nothing of it: by OpenAI's package, told where by the environment.

    use.py MODEL QUESTION

Prints the answer to the question, which must be the same in every way of asking for it.
"""

import asyncio
import sys

import openai

model, question = sys.argv[1:]
asked = {
    "model": model,
    "messages": [{"role": "user", "content": question}],
    "temperature": 0,
    "max_tokens": 24,
}
client = openai.OpenAI(max_retries=0, timeout=300)

assert [one.id for one in client.models.list()] == [model]

whole = client.chat.completions.create(**asked)
answer = whole.choices[0].message.content
assert answer and whole.object == "chat.completion" and whole.model == model, whole
assert whole.choices[0].finish_reason in ("stop", "length"), whole
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens, whole

*chunks, last = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer, chunks
assert {chunk.id for chunk in chunks} == {last.id} and last.id != whole.id, chunks
assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason, chunks
assert not last.choices and last.usage == whole.usage, last


async def at_once():
    async with openai.AsyncOpenAI(max_retries=0, timeout=300) as client:
        answers = await asyncio.gather(*(client.chat.completions.create(**asked) for _ in range(2)))
    assert [one.choices[0].message.content for one in answers] == [answer] * 2, answers


asyncio.run(at_once())

with client.chat.completions.create(**asked, stream=True) as stream:
    next(stream)
# The rest of that answer is not waited for.

receipt = client.chat.completions.create(**asked, extra_headers={"X-Vitrine-Receipt": "1"}).vitrine_receipt
assert sorted(receipt) == ["key_statement", "receipt", "salt"], receipt

for wrong, kind, says in [
    (lambda: client.chat.completions.create(**asked, extra_body={"grammar": "x"}), openai.BadRequestError, "grammar"),
    (lambda: client.chat.completions.create(**(asked | {"model": "x"})), openai.BadRequestError, "model"),
    (lambda: client.with_options(api_key="wrong").models.list(), openai.AuthenticationError, "Authorization"),
    (lambda: client.embeddings.create(model=model, input="x"), openai.NotFoundError, "/v1/models"),
]:
    try:
        wrong()
    except kind as error:
        assert says in error.message, error
    else:
        raise AssertionError(f"expected {kind}")

print(answer)
