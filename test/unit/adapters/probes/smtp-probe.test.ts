/** What an SMTP check does with replies that nobody asked for. */
import { expect, it } from 'vitest';
import type { Outcome } from '../../../../src/adapters/probes/probe.ts';
import { SmtpTalk } from '../../../../src/adapters/probes/smtp-probe.ts';
import type { Line } from '../../../../src/adapters/probes/stream-probe.ts';

it('reads no more after its verdict, however much has come at once', () => {
  const outcomes: Outcome[] = [];
  const said: string[] = [];
  const line: Line = {
    write: (bytes) => said.push(new TextDecoder().decode(bytes)),
    finish: (outcome) => outcomes.push(outcome),
    startTls: () => {},
    certificateNote: () => '',
  };
  const talk = new SmtpTalk({ kind: 'smtp', helo: 'me', security: 'none', tls: null }, 'host');
  talk.onOpen(line);
  talk.onData(Buffer.from(`220 mx\r\n${'250 \r\n'.repeat(10_000)}`));
  expect(outcomes).toEqual([{ kind: 'up', detail: 'SMTP welcome' }]);
  expect(said).toEqual(['HELO me\r\n', 'QUIT\r\n']);
});
