/**
 * SMTP checks (RFC 5321, RFC 3207): greeting, HELO or EHLO, STARTTLS where it is wanted, QUIT. Up when the server has
 * welcomed us, as keepalived's SMTP_CHECK.
 */
import type { SmtpCheck } from '../../model/check.ts';
import { SmtpReplyReader, type SmtpReply } from '../../wire/smtp-reply.ts';
import { down, oneLine } from './failure-words.ts';
import type { Outcome } from './probe.ts';
import type { Line, Talk } from './stream-probe.ts';

type Step = 'greeting' | 'helo' | 'starttls' | 'secure-helo' | 'quit';

export class SmtpTalk implements Talk {
  readonly #spec: SmtpCheck;
  readonly #name: string;
  #reader = new SmtpReplyReader();
  #line: Line | null = null;
  #step: Step = 'greeting';
  #bytes = 0;
  #note = '';
  /** Nothing more is read: thousands of replies may have come at once. */
  #isOver = false;

  /** `hostName` is ours, where the check names none. */
  constructor(spec: SmtpCheck, hostName: string) {
    this.#spec = spec;
    this.#name = spec.helo ?? hostName;
  }

  onOpen(line: Line): void {
    this.#line = line;
    this.#note = line.certificateNote();
  }

  onData(bytes: Buffer): void {
    this.#bytes += bytes.length;
    this.#reader.feed(bytes);
    while (!this.#isOver) {
      const step = this.#step;
      const progress = this.#reader.next();
      if (progress.kind === 'more') return;
      if (progress.kind === 'broken') {
        const reason = progress.isTooLarge ? 'too-large' : 'not-this-protocol';
        this.#finish(down(reason, `not an SMTP answer: ${progress.detail}`));
        return;
      }
      this.#take(progress.reply);
      // What follows STARTTLS belongs to TLS.
      if (step === 'starttls') return;
    }
  }

  onEnd(): Outcome {
    // Some servers do not answer QUIT.
    if (this.#step === 'quit') return this.#up();
    return down('closed-early', `connection closed ${BEFORE[this.#step]}`);
  }

  awaited(): ReturnType<Talk['awaited']> {
    const reason = this.#bytes === 0 ? 'timeout-first-byte' : 'timeout-answer';
    return { reason, what: AWAITED[this.#step] };
  }

  #take(reply: SmtpReply): void {
    const wanted = this.#step === 'greeting' || this.#step === 'starttls' ? 220 : 250;
    if (this.#step === 'quit') {
      this.#finish(this.#up());
      return;
    }
    if (reply.code !== wanted) {
      const words = oneLine(`${reply.code} ${reply.lines[0] ?? ''}`);
      this.#finish(down('wrong-status', `SMTP ${COMMANDS[this.#step]} answered ${words}`));
      return;
    }
    switch (this.#step) {
      case 'greeting':
        this.#say(this.#hello(), 'helo');
        return;
      case 'helo':
        if (this.#spec.security === 'starttls') this.#askTls(reply);
        else this.#say('QUIT', 'quit');
        return;
      case 'starttls':
        this.#secure();
        return;
      case 'secure-helo':
        this.#say('QUIT', 'quit');
    }
  }

  /** Extensions are only told to EHLO; keepalived says HELO, which every server knows. */
  #hello(): string {
    return `${this.#spec.security === 'starttls' ? 'EHLO' : 'HELO'} ${this.#name}`;
  }

  #askTls({ lines }: SmtpReply): void {
    const isOffered = lines.slice(1).some((line) => /^STARTTLS\b/i.test(line));
    if (isOffered) this.#say('STARTTLS', 'starttls');
    else this.#finish(down('tls-failed', 'the server does not offer STARTTLS'));
  }

  #secure(): void {
    const { tls } = this.#spec;
    // Commands of somebody on the way, which would be taken for the server's (RFC 3207 4.2).
    if (this.#reader.hasLeftovers || tls === null) {
      this.#finish(down('not-this-protocol', 'more than one answer to STARTTLS'));
      return;
    }
    this.#reader = new SmtpReplyReader();
    this.#line?.startTls(tls, null, () => {
      this.#note = this.#line?.certificateNote() ?? '';
      this.#say(this.#hello(), 'secure-helo');
    });
  }

  #say(command: string, next: Step): void {
    this.#step = next;
    this.#line?.write(Buffer.from(`${command}\r\n`));
  }

  #finish(outcome: Outcome): void {
    this.#isOver = true;
    this.#line?.finish(outcome);
  }

  #up(): Outcome {
    const how = this.#spec.security === 'none' ? '' : ` with TLS, ${this.#note}`;
    return { kind: 'up', detail: `SMTP welcome${how}` };
  }
}

const COMMANDS: Readonly<Record<Step, string>> = {
  greeting: 'greeting',
  helo: 'HELO',
  starttls: 'STARTTLS',
  'secure-helo': 'EHLO after STARTTLS',
  quit: 'QUIT',
};
const BEFORE: Readonly<Record<Step, string>> = {
  greeting: 'without a greeting',
  helo: 'instead of an answer to HELO',
  starttls: 'instead of an answer to STARTTLS',
  'secure-helo': 'instead of an answer to EHLO after STARTTLS',
  quit: 'after QUIT',
};
const AWAITED: Readonly<Record<Step, string>> = {
  greeting: 'no greeting',
  helo: 'no answer to HELO',
  starttls: 'no answer to STARTTLS',
  'secure-helo': 'no answer to EHLO after STARTTLS',
  quit: 'no answer to QUIT',
};
