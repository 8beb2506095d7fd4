/** Schema pieces shared by the status document and the API's requests. */
import Type from 'typebox';

export const AdminStateSchema = Type.Enum(['ready', 'drain', 'maint']);
