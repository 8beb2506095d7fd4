/** What the notifier and its worker thread say to each other. */
import type { FifoResult, FifoWrite, NotifyJob, NotifyResult } from '../../ports/notifier.ts';

export type ToNotifyWorker =
  | { readonly kind: 'run'; readonly id: number; readonly job: NotifyJob }
  | { readonly kind: 'kill'; readonly id: number }
  | { readonly kind: 'write'; readonly id: number; readonly write: FifoWrite }
  | { readonly kind: 'close' };

export type FromNotifyWorker =
  | { readonly kind: 'ran'; readonly id: number; readonly result: NotifyResult }
  | { readonly kind: 'wrote'; readonly id: number; readonly result: FifoResult }
  | { readonly kind: 'closed' };
