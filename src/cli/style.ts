/** Colours for a terminal; they only repeat what the words say. ECMA-48 SGR codes. */
import type { CliIo } from './context.ts';

export type Paint = (text: string, tone: 'good' | 'bad' | 'warn' | 'strong') => string;

const CODES = { good: 32, bad: 31, warn: 33, strong: 1 } as const;

export function createPaint(io: Pick<CliIo, 'isTerminal' | 'environment'>): Paint {
  if (!io.isTerminal || io.environment.noColor) return (text) => text;
  return (text, tone) => `\u001B[${CODES[tone]}m${text}\u001B[0m`;
}
