/** What each kind of check must satisfy, beyond its shape. */
import { fromHex } from '../lib/bytes.ts';
import { parseBytePattern } from '../lib/byte-pattern.ts';
import { Pattern } from '../lib/pattern.ts';
import { familyOf, parseIp } from '../model/address.ts';
import type { CheckKind } from '../model/check.ts';
import { parseDigest } from './build-check.ts';
import type { Problem } from './problem.ts';
import { at, entriesOf, isMap, itemsOf, numberOf, type Raw, textOf } from './raw.ts';
import { addressProblem, commandProblems } from './rules-common.ts';

type Kind = CheckKind['kind'];

/** Problems of what stands below the kind's name. */
export function kindProblems(kind: Kind, raw: Raw): readonly Problem[] {
  switch (kind) {
    case 'tcp':
      return exchangeProblems(raw);
    case 'tls':
      return [...exchangeProblems(raw), ...tlsProblems(raw)];
    case 'http':
      return httpProblems(raw);
    case 'https':
      return [...httpProblems(raw), ...tlsProblems(raw)];
    case 'smtp':
      return smtpProblems(raw);
    case 'dns':
      return dnsProblems(raw);
    case 'udp':
      return udpProblems(raw);
    case 'script':
      return commandProblems(at(raw, 'command'));
    case 'vip':
      return vipProblems(raw);
    case 'icmp':
    case 'file':
      return [];
  }
}

/** What is probably a slip. */
export function kindWarnings(kind: Kind, raw: Raw): readonly Problem[] {
  return [
    ...nameWarnings(kind, raw),
    ...(kind === 'tcp' || kind === 'tls' ? sendWarnings(raw) : []),
  ];
}

function sendWarnings(raw: Raw): readonly Problem[] {
  const send = at(raw, 'send');
  if (send.value === undefined || at(raw, 'expect').value !== undefined) return [];
  const message = 'may never arrive: nothing is expected, so the connection is reset at once';
  return [problem(send, message, 'expect beside it, or leave it out')];
}

function nameWarnings(kind: Kind, raw: Raw): readonly Problem[] {
  const isTls = kind === 'tls' || kind === 'https' || (kind === 'smtp' && hasTls(raw));
  if (!isTls || at(raw, 'verify').value === false || at(raw, 'name').value !== undefined) return [];
  const requests = [raw, ...itemsOf(at(raw, 'requests'))];
  if (requests.some((request) => at(request, 'host').value !== undefined)) return [];
  return [
    {
      path: raw.path,
      message: "names no host: the certificate must have the real server's address",
      allowed: 'name: the name in the certificate, or verify: false',
    },
  ];
}

const problem = (place: Raw, message: string, allowed: string): Problem => ({
  path: place.path,
  message,
  allowed,
});

function exchangeProblems(raw: Raw): readonly Problem[] {
  return [...bytesProblems(at(raw, 'send')), ...matchProblems(at(raw, 'expect'))];
}

/** Of a text or `{ hex }`: the digits. */
function bytesProblems(place: Raw): readonly Problem[] {
  if (!isMap(place.value)) return [];
  const hex = at(place, 'hex');
  const text = textOf(hex);
  if (text === null || (fromHex(text)?.length ?? 0) > 0) return [];
  return [problem(hex, 'is no bytes', 'pairs of hexadecimal digits: "50 49 4e 47"')];
}

function matchProblems(place: Raw): readonly Problem[] {
  if (!isMap(place.value)) return [];
  const [regex, hex] = [at(place, 'regex'), at(place, 'hex')];
  const isBoth = regex.value !== undefined && hex.value !== undefined;
  if (isBoth || (regex.value === undefined && hex.value === undefined))
    return [
      problem(place, isBoth ? 'has both regex and hex' : 'says nothing', 'a text, regex or hex'),
    ];
  const ignoreCase = at(place, 'ignoreCase');
  if (hex.value !== undefined)
    return [
      ...bytesProblems(place),
      ...(ignoreCase.value === undefined
        ? []
        : [problem(ignoreCase, 'means nothing to bytes', 'with regex only')]),
    ];
  const source = textOf(regex);
  const compiled = source === null ? null : Pattern.compile(source, false);
  if (compiled === null || compiled.ok) return [];
  return [
    problem(
      regex,
      compiled.error,
      'an expression of JavaScript, without back-references and look-around, at most 512 characters',
    ),
  ];
}

function httpProblems(raw: Raw): readonly Problem[] {
  const [path, requests] = [at(raw, 'path'), at(raw, 'requests')];
  const problems = [...requestProblems(raw)];
  if (path.value !== undefined && requests.value !== undefined)
    problems.push(problem(path, 'stands beside requests, which have their own', 'one of both'));
  for (const request of itemsOf(requests)) problems.push(...requestProblems(request, raw));
  return problems;
}

/** `around` says what the request does not. */
function requestProblems(raw: Raw, around: Raw = raw): readonly Problem[] {
  const said = (key: string): unknown => at(raw, key).value ?? at(around, key).value;
  const digest = at(raw, 'digest');
  const parsed = textOf(digest) === null ? null : parseDigest(textOf(digest) ?? '');
  const problems = [
    ...statusProblems(at(raw, 'status')),
    ...matchProblems(at(raw, 'match')),
    ...matchProblems(at(raw, 'noMatch')),
    ...bytesProblems(at(raw, 'body')),
    ...headerProblems(at(raw, 'headers')),
  ];
  if (parsed !== null && !parsed.ok)
    problems.push(
      problem(
        digest,
        parsed.error,
        'md5: 32, sha1: 40, sha256: 64, sha512: 128 hexadecimal digits',
      ),
    );
  if (said('method') === 'HEAD')
    for (const key of ['digest', 'match', 'noMatch'] as const)
      if (said(key) !== undefined && (at(raw, key).value ?? at(raw, 'method').value) !== undefined)
        problems.push(problem(at(raw, key), 'an answer to HEAD has no body', 'method: GET'));
  return problems;
}

function statusProblems(status: Raw): readonly Problem[] {
  const ranges = Array.isArray(status.value) ? itemsOf(status) : [status];
  return ranges.flatMap((range) => {
    const match = /^([1-5]\d\d)-([1-5]\d\d)$/.exec(textOf(range) ?? '');
    if (match === null || Number(match[1]) <= Number(match[2])) return [];
    return [problem(range, 'ends before it begins', `"${match[2]}-${match[1]}"`)];
  });
}

/** What the request's framing needs is ours; two of one name would be two headers. */
function headerProblems(headers: Raw): readonly Problem[] {
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const [name, place] of entriesOf(headers)) {
    const lower = name.toLowerCase();
    if (seen.has(lower)) problems.push(problem(place, 'is there twice', 'each header once'));
    seen.add(lower);
    if (lower === 'host') problems.push(problem(place, 'has a word of its own', 'host: …'));
    if (['content-length', 'transfer-encoding', 'connection'].includes(lower))
      problems.push(problem(place, 'follows from the request', 'leave it out'));
  }
  return problems;
}

const TLS_KEYS = ['verify', 'name', 'ca', 'cert', 'key', 'daysLeft'] as const;

function tlsProblems(raw: Raw): readonly Problem[] {
  const [cert, key] = [at(raw, 'cert'), at(raw, 'key')];
  if ((cert.value === undefined) === (key.value === undefined)) return [];
  const missing = cert.value === undefined ? cert : key;
  return [problem(missing, 'is missing', 'cert and key, or none of both')];
}

const hasTls = (smtp: Raw): boolean => (textOf(at(smtp, 'security')) ?? 'none') !== 'none';

function smtpProblems(raw: Raw): readonly Problem[] {
  if (hasTls(raw)) return tlsProblems(raw);
  return TLS_KEYS.map((key) => at(raw, key))
    .filter((place) => place.value !== undefined)
    .map((place) => problem(place, 'means nothing without TLS', 'security: starttls, or tls'));
}

/** RFC 1035 2.3.4. */
const LABEL_MAX = 63;
const NAME_MAX = 253;

function dnsProblems(raw: Raw): readonly Problem[] {
  const place = at(raw, 'name');
  const problems = [...matchProblems(at(raw, 'match')), ...dnsAnswerProblems(raw)];
  const name = (textOf(place) ?? '.').replace(/\.$/, '');
  const allowed = 'a name such as www.example.org, or "." for the root';
  if (name !== '' && !/^[!-~]+$/.test(name))
    problems.push(problem(place, 'has other than printable ASCII characters', allowed));
  else if (name !== '' && name.split('.').some((label) => label === ''))
    problems.push(problem(place, 'has an empty label', allowed));
  else if (name.split('.').some((label) => label.length > LABEL_MAX))
    problems.push(problem(place, `has a label longer than ${LABEL_MAX} characters`, allowed));
  else if (name.length > NAME_MAX)
    problems.push(problem(place, `is longer than ${NAME_MAX} characters`, allowed));
  return problems;
}

/** What no record of the type can be would never be found. */
function dnsAnswerProblems(raw: Raw): readonly Problem[] {
  const answer = at(raw, 'answer');
  const type = textOf(at(raw, 'type')) ?? 'SOA';
  const wanted = type === 'A' ? 4 : type === 'AAAA' ? 6 : null;
  const places = Array.isArray(answer.value) ? itemsOf(answer) : [answer];
  return places.flatMap((place) => {
    const text = textOf(place);
    if (text === null || type === 'TXT') return [];
    const parsed = parseIp(text.trim());
    const family = parsed.ok ? familyOf(parsed.value) : null;
    if (family === wanted) return [];
    if (family !== null)
      return [
        problem(
          place,
          `is an IPv${family} address, and the question is for ${type}`,
          `type: ${family === 4 ? 'A' : 'AAAA'}`,
        ),
      ];
    return [
      problem(place, `is no IPv${wanted} address, and the question is for ${type}`, 'an address'),
    ];
  });
}

/** Which addresses there are is known where the service is. */
function vipProblems(raw: Raw): readonly Problem[] {
  const found = addressProblem(at(raw, 'address'));
  return found === null ? [] : [found];
}

function udpProblems(raw: Raw): readonly Problem[] {
  const [reply, requireReply] = [at(raw, 'reply'), at(raw, 'requireReply')];
  const [minLength, maxLength] = [at(raw, 'minLength'), at(raw, 'maxLength')];
  const problems = [...bytesProblems(at(raw, 'payload'))];
  const text = textOf(reply);
  const parsed = text === null ? null : parseBytePattern(text);
  if (parsed !== null && !parsed.ok)
    problems.push(
      problem(reply, parsed.error, 'pairs of hexadecimal digits, x for any: "a1 0x xx"'),
    );
  const [min, max] = [numberOf(minLength) ?? 0, numberOf(maxLength)];
  if (max !== null && min > max)
    problems.push(problem(maxLength, `${max} is below minLength (${min})`, `${min} to 65507`));
  if (requireReply.value === false)
    for (const place of [reply, minLength, maxLength])
      if (place.value !== undefined)
        problems.push(problem(place, 'judges a reply that need not come', 'requireReply: true'));
  return problems;
}
