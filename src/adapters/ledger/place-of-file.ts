/** The member of a file that says which kernel and network namespace it is about; absent in earlier versions. */
import Type from 'typebox';

export const PlaceOfFile = Type.Object({
  bootId: Type.String(),
  namespace: Type.String(),
  cookie: Type.Union([Type.String(), Type.Null()]),
});
