/**
 * An interceptor for one gRPC call. It keeps the call's true status, gives a handle to cancel it, and
 * adds metadata. The etcd3 library must not see the true status: it would drop the whole channel on most
 * of them and repeat a call whose token was refused, a transaction too; so it gets one code that it leaves alone.
 */
import { type Interceptor, InterceptingCall, status } from '@grpc/grpc-js';

import type { CallStatus } from './call-status.ts';

export type CallProbe = {
  readonly interceptor: Interceptor;
  /** Null while the call runs, and after a success. */
  failure(): CallStatus | null;
  /** Safe at any time; before the call starts it does nothing. */
  cancel(): void;
};

export function createCallProbe(metadata: Readonly<Record<string, string>>): CallProbe {
  let failure: CallStatus | null = null;
  let call: InterceptingCall | null = null;
  const interceptor: Interceptor = (options, nextCall) => {
    call = new InterceptingCall(nextCall(options), {
      start(outgoing, _listener, next) {
        for (const [key, value] of Object.entries(metadata)) outgoing.set(key, value);
        next(outgoing, {
          onReceiveStatus(received, nextStatus) {
            if (received.code === status.OK) return nextStatus(received);
            failure = { code: received.code, details: received.details };
            nextStatus({ ...received, code: status.OUT_OF_RANGE, details: 'see the call probe' });
          },
        });
      },
    });
    return call;
  };
  return {
    interceptor,
    failure: () => failure,
    cancel: () => call?.cancelWithStatus(status.CANCELLED, 'cancelled by the caller'),
  };
}
